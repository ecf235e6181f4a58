"""Engines side by side, in alternating rounds.

Every engine is a process of its own, loaded once and then idle except during its turns. A round
gives each engine a turn, and each round begins with another engine, so that whatever else slows the
machine down meets all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from voxmood_bench.engines.process import Runs
from voxmood_bench.errors import BenchmarkError
from voxmood_bench.measure.latency import (
    DISTURBED,
    WIDEST_INTERVAL,
    Round,
    SpeedRow,
    settled,
)

PAUSE = 0.1  # seconds before a turn; thread pools spin on for some milliseconds after a run
TURN_SECONDS = 0.3
TURN_RUNS = 20
TRIES = 3
TOO_SLOW = 10.0  # times the reference; bfloat16 is, on a processor that has to emulate it

PROTOCOL = (
    "From samples in memory to logits, the engine's own pre-processing included; reading files is "
    "not timed. Each engine is a process of its own, on the given number of threads. Its first "
    "call is shown as such; a second warms up and is not timed. Then rounds: each engine takes a "
    f"turn of {TURN_SECONDS:g} s (one run at least, {TURN_RUNS} at most), beginning with another "
    f"engine each round. A turn during which other processes had more than {DISTURBED:.0%} of the "
    f"machine is taken again, {TRIES} times in all, and the least disturbed counts. Rounds go on "
    f"until all ratios to the reference are known to {WIDEST_INTERVAL:.0%}, or there are enough. "
    "The median is that of the rounds' medians, p95 is over all runs. A ratio is one of medians; "
    "its 95 % interval comes from resampling rounds. One engine runs twice, as two processes: how "
    "far their ratio may be from 1 is the noise of this machine."
)


class Runner(Protocol):
    """What runs an engine: a `Worker`, as far as rounds are concerned."""

    def run(self, audio: Path, least_seconds: float = 0.0, most_runs: int = 1) -> Runs:
        """Time runs on a waveform."""
        ...


class Turns:
    """Gives engines their turns; one that fails or is far too slow gets no more of them.

    Args:
        workers: what runs each engine.
        audio: a .npy file of the waveform.
        reference: the engine whose time decides what is far too slow.

    Attributes:
        errors: why engines get no more turns.
        first_ms: the first call of each engine.
        others: the share of the machine that other processes had, for every turn so far.
    """

    def __init__(self, workers: Mapping[str, Runner], audio: Path, reference: str) -> None:
        self.errors: dict[str, str] = {}
        self.first_ms: dict[str, float] = {}
        self.others: list[float] = []
        self._workers, self._audio = workers, audio
        warm: dict[str, float] = {}
        for name in workers:
            first, _ = self._runs(name, 0.0, 1)
            second, _ = self._runs(name, 0.0, 1) if first else ([], 0.0)
            if second:
                self.first_ms[name], warm[name] = first[0], second[0]
        for name, took in warm.items():
            if took > TOO_SLOW * warm.get(reference, math.inf):
                self.errors[name] = (
                    f"takes {took / 1000:.1f} s for what the reference does in "
                    f"{warm[reference] / 1000:.1f} s: far too slow on this machine."
                )

    def rounds(self, begin: int, end: int) -> Iterator[Round]:
        """Yield the rounds of these numbers; the number decides whose turn is first."""
        for index in range(begin, end):
            names = [name for name in self._workers if name not in self.errors]
            first = index % max(1, len(names))
            order = names[first:] + names[:first]
            turns = {name: self._turn(name) for name in order}
            yield {name: turns[name] for name in names if turns[name]}

    def _turn(self, name: str) -> list[float]:
        tries: list[tuple[list[float], float]] = []
        while len(tries) < TRIES and (not tries or tries[-1][1] > DISTURBED):
            tries.append(self._runs(name, TURN_SECONDS, TURN_RUNS))
        runs, others = min(tries, key=lambda one: one[1])
        self.others.append(others)
        return runs

    def _runs(self, name: str, least_seconds: float, most_runs: int) -> tuple[list[float], float]:
        time.sleep(PAUSE)
        try:
            runs = self._workers[name].run(self._audio, least_seconds, most_runs)
        except BenchmarkError as error:
            self.errors[name] = str(error)
            return [], 0.0
        return [round(1000 * value, 4) for value in runs.seconds], runs.others


def run_rounds(
    turns: Turns,
    row: SpeedRow,
    *,
    rounds: int,
    most_rounds: int,
    seconds: float,
    reference: str,
    keep: Callable[[SpeedRow], None],
) -> None:
    """Add rounds to a row until it has enough of them, and its ratios are narrow or it has most.

    Args:
        turns: of the engines.
        row: what is known so far; gets more rounds.
        rounds: at least this many.
        most_rounds: at most this many.
        seconds: no further round begins after this time, if there are enough.
        reference: the engine that ratios are to.
        keep: called with the row after each round.

    Raises:
        BenchmarkError: the reference fails.
    """
    begin = time.monotonic()
    while len(row.rounds) < rounds or (
        len(row.rounds) < most_rounds
        and time.monotonic() - begin < seconds
        and not settled(row.rounds, reference)
    ):
        row.rounds += turns.rounds(len(row.rounds), len(row.rounds) + 1)
        if reference in turns.errors:
            raise BenchmarkError(f"the reference failed: {turns.errors[reference]}")
        row.others += turns.others
        turns.others.clear()
        keep(row)
