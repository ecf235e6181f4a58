"""Start and memory of engines, each figure from fresh processes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from voxmood_bench.environments import Worker

RUNS = 3  # after loading; the first is the first call, the last is past warming up


def start(
    load: Callable[[], tuple[Worker, dict[str, Any]]], audio: str, repeats: int
) -> dict[str, float]:
    """Starts an engine some times and takes the median of every figure.

    Args:
        load: returns it in a fresh process, and how long that took.
        audio: a .npy file; what it runs.
        repeats: how often.

    Returns:
        Seconds to import and to load, milliseconds of the first call, and megabytes:
        `private_mb` is memory that the process alone holds, `peak_resident_mb` counts mapped
        pages of the model's file too, which the system can drop.

    Raises:
        BenchmarkError: it does not start or does not run.
    """
    starts = [_start(load, audio) for _ in range(repeats)]
    return {key: statistics.median(facts[key] for facts in starts) for key in starts[0]}


def _start(load: Callable[[], tuple[Worker, dict[str, Any]]], audio: str) -> dict[str, float]:
    worker, loaded = load()
    with worker:
        runs = [
            worker.ask("run", audio=audio, least_seconds=0.0, most_runs=1)["seconds"][0]
            for _ in range(RUNS)
        ]
        return {
            "import_s": loaded["import_s"],
            "load_s": loaded["load_s"],
            "first_run_ms": 1000 * runs[0],
            "later_run_ms": 1000 * runs[-1],
            **worker.ask("memory"),
        }
