"""Start and memory from fresh processes; what they come to is no test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voxmood_bench.engines.process import Loaded, MemoryUse, Runs
from voxmood_bench.measure.startup import measure_start
from voxmood_bench.report.schema import StartFigures

pytestmark = pytest.mark.linux  # as `bench run` itself


def test_every_start_is_a_fresh_process_and_medians_are_taken() -> None:
    starts: list[FreshWorker] = []

    class FreshWorker:
        def __init__(self, private: float) -> None:
            self.private, self.runs, self.closed = private, [0.5, 0.3, 0.2], False

        def run(self, audio: Path) -> Runs:
            return Runs([self.runs.pop(0)], None, 0.0)

        def memory(self) -> MemoryUse:
            assert not self.runs  # after it has run
            return MemoryUse(self.private, 2 * self.private)

        def __enter__(self) -> FreshWorker:
            return self

        def __exit__(self, *_: object) -> None:
            self.closed = True

    def load() -> tuple[Any, Loaded]:
        starts.append(FreshWorker([30.0, 10.0, 20.0][len(starts)]))
        return starts[-1], Loaded(1.0, 0.1 * len(starts), {})

    figures = measure_start(load, Path("clip.npy"), 3)
    assert figures == StartFigures(
        import_s=1.0, load_s=0.2, first_run_ms=500.0, later_run_ms=200.0,
        private_mb=20.0, peak_resident_mb=40.0,
    )  # fmt: skip
    assert all(worker.closed for worker in starts)
