"""The README's figures are those of the committed results."""

from __future__ import annotations

from voxmood_bench.readme import README, filled


def test_tables_agree_with_the_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "run python -m voxmood_bench.readme"
