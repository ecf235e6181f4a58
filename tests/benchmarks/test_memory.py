"""Load time and memory of the shipped bundle, in fresh processes."""

from __future__ import annotations

from voxmood_bench.memory import as_text, measure


def test_every_way_is_measured() -> None:
    report = measure(None, "auto", seconds=1.0, threads=1, repeats=1)
    assert len(report) == 3
    for facts in report.values():
        assert 0 < facts["private_mb"] < facts["peak_resident_mb"]
        assert facts["load_s"] > 0
    assert as_text(report).count("\n") == 3
