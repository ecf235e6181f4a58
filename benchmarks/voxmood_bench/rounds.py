"""Rounds: every worker takes its turn, so that what slows the machine down meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from voxmood_bench.errors import BenchmarkError

SETTLING_RUNS = 2
PAUSE = 0.1  # seconds; thread pools spin on for some milliseconds after a run


class Asked(Protocol):
    """A worker, as far as rounds are concerned."""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns the answer."""
        ...


@dataclass
class Row:
    """What was measured of one engine; `error` says why it is not complete."""

    milliseconds: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    logits: list[float] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def median(self) -> float:
        """Of the runs, in milliseconds."""
        return statistics.median(self.milliseconds)

    @property
    def spread(self) -> float:
        """Between the quartiles, in milliseconds."""
        low, high = np.percentile(self.milliseconds, [25, 75])
        return float(high - low)


def ratio(ours: Row, theirs: Row) -> float:
    """The median over rounds of the ratio within a round."""
    pairs = zip(ours.milliseconds, theirs.milliseconds, strict=True)
    return statistics.median(own / other for own, other in pairs)


def take_turns(
    workers: Mapping[str, Asked],
    audio: str,
    rounds: int,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Row]:
    """Runs every worker once a round; one that fails is out, its row says why."""
    rows = {name: Row() for name in workers}

    def run(name: str) -> float:
        time.sleep(PAUSE)
        answer = workers[name].ask("run", audio=audio)
        rows[name].peak_mb, rows[name].logits = answer["peak_mb"], answer["logits"]
        return 1000 * float(answer["seconds"])

    for index in range(-SETTLING_RUNS, rounds):
        if index >= 0:
            progress(f"round {index + 1} of {rounds}")
        names = [name for name, row in rows.items() if row.error is None]
        first = index % max(1, len(names))
        for name in names[first:] + names[:first]:
            try:
                milliseconds = run(name)
            except BenchmarkError as error:
                rows[name].error = str(error)
                continue
            if index >= 0:
                rows[name].milliseconds.append(milliseconds)
    return rows
