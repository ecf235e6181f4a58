"""What starting an engine takes, in time and memory, each figure from fresh processes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from voxmood_bench.engines.process import Loaded
from voxmood_bench.engines.worker import Worker
from voxmood_bench.report.schema import StartFigures

RUNS = 3  # after loading; the first is the first call, the last is past warming up


def measure_start(
    load: Callable[[], tuple[Worker, Loaded]], audio: Path, repeats: int
) -> StartFigures:
    """Start an engine several times and return the median of every figure.

    Args:
        load: returns the engine in a fresh process, and what loading it took.
        audio: a .npy file of the waveform that it runs on.
        repeats: how often to start it.

    Raises:
        BenchmarkError: the engine does not start or does not run.
    """
    starts = [asdict(_start(load, audio)) for _ in range(repeats)]
    return StartFigures(
        **{name: statistics.median(start[name] for start in starts) for name in starts[0]}
    )


def _start(load: Callable[[], tuple[Worker, Loaded]], audio: Path) -> StartFigures:
    worker, loaded = load()
    with worker:
        runs = [worker.run(audio).seconds[0] for _ in range(RUNS)]
        memory = worker.memory()
        return StartFigures(
            loaded.import_s,
            loaded.load_s,
            1000 * runs[0],
            1000 * runs[-1],
            memory.private_mb,
            memory.peak_resident_mb,
        )
