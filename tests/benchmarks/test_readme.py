"""The figures of the pages are those of the committed results."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_tables_agree_with_the_results() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "scripts" / "readme.py"))
    for page in script["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert script["filled"](text) == text, "run python benchmarks/scripts/readme.py"
        assert "<!-- table: " in text


def test_estimates_are_those_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "runtime" / "examples" / "raspberry-pi"
    runpy.run_path(str(folder / "estimate.py"), run_name="__main__")
    table = capsys.readouterr().out.partition("| ")[1:]
    assert "".join(table) in (folder / "README.md").read_text(encoding="utf-8")
