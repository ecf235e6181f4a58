"""Latency of engines side by side, in alternating rounds.

Every engine is a process of its own, loaded once and then idle but for its turns. A round gives
each engine a turn and begins with another one each time, so that whatever else slows the machine
down meets all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from voxmood_bench.errors import BenchmarkError

PAUSE = 0.1  # seconds before a turn; thread pools spin on for some milliseconds after a run
TURN_SECONDS = 0.3
TURN_RUNS = 20
DISTURBED = 0.1  # share of the machine's processors that others have during a turn
TRIES = 3
TOO_SLOW = 10.0  # times the reference; bfloat16 is, on a processor that has to emulate it
RESAMPLES = 2000
WIDEST_INTERVAL = 0.05  # of a ratio, either way; until then rounds go on

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

Round: TypeAlias = Mapping[str, Sequence[float]]
"""Milliseconds of the runs of each engine's turn."""


class Asked(Protocol):
    """A worker, as far as rounds are concerned."""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns the answer."""
        ...


class Turns:
    """Gives workers their turns; one that fails or is far too slow is out, and `errors` says why.

    Args:
        workers: by the names of their engines.
        audio: a .npy file; what they run.
        reference: the engine whose time says what is far too slow.

    Attributes:
        first_ms: of each worker, its first call.
        others: of every turn so far, which share of the machine other processes had.
    """

    def __init__(self, workers: Mapping[str, Asked], audio: str, reference: str) -> None:
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
        """Rounds of these numbers; the number says whose turn is first."""
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
            answer = self._workers[name].ask(
                "run", audio=self._audio, least_seconds=least_seconds, most_runs=most_runs
            )
        except BenchmarkError as error:
            self.errors[name] = str(error)
            return [], 0.0
        return [round(1000 * float(value), 4) for value in answer["seconds"]], answer["others"]


def statistics(rounds: Sequence[Round], name: str) -> dict[str, float]:
    """An engine's latency in milliseconds over rounds."""
    runs = np.concatenate([turns[name] for turns in rounds if name in turns])
    low, high, p95 = np.percentile(runs, [25, 75, 95])
    return {
        "median_ms": float(np.median(_medians(rounds, name))),
        "p25_ms": float(low),
        "p75_ms": float(high),
        "p95_ms": float(p95),
        "runs": len(runs),
    }


def _medians(rounds: Sequence[Round], name: str) -> npt.NDArray[np.float64]:
    return np.array([np.median(turns[name]) for turns in rounds if name in turns])


def ratio(rounds: Sequence[Round], ours: str, theirs: str) -> tuple[float, float, float]:
    """Ratio of two engines' medians, over the rounds that have both.

    Returns:
        The ratio, and its 95 % percentile bootstrap interval (Efron and Tibshirani, 1993); a
        round is drawn with both its turns, since they met the same load.
    """
    both = [turns for turns in rounds if ours in turns and theirs in turns]
    a, b = _medians(both, ours), _medians(both, theirs)
    drawn = np.random.default_rng(0).integers(len(both), size=(RESAMPLES, len(both)))
    ratios = np.median(a[drawn], axis=1) / np.median(b[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(a) / np.median(b)), float(low), float(high)


def noise(rounds: Sequence[Round], engine: str, copy: str) -> float:
    """How far from 1 a ratio of an engine to its copy may be: 0.03 is 3 % either way."""
    _, low, high = ratio(rounds, engine, copy)
    return max(high, 1 / low) - 1


def within(value: float, low: float, high: float, noise: float) -> bool:
    """Whether a ratio cannot be told from 1."""
    return low <= 1 <= high or max(value, 1 / value) <= 1 + noise


def settled(rounds: Sequence[Round], reference: str) -> bool:
    """Whether the intervals of all ratios to the reference are narrow enough."""
    names = set.intersection(*(set(turns) for turns in rounds)) - {reference}
    for name in names:
        value, low, high = ratio(rounds, name, reference)
        if max(high / value, value / low) - 1 > WIDEST_INTERVAL:
            return False
    return True


def measure(
    turns: Turns,
    row: dict[str, Any],
    *,
    rounds: int,
    most_rounds: int,
    seconds: float,
    reference: str,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Adds rounds to a row until it has enough of them, and its ratios are narrow or it has most.

    Args:
        turns: of the workers.
        row: `rounds` so far and `others` of their turns; gets more of them.
        rounds: at least so many.
        most_rounds: and no more than so many,
        seconds: nor than this takes.
        reference: the engine that ratios are to.
        keep: called with the row after each round.

    Raises:
        BenchmarkError: the reference fails.
    """
    done: list[Round] = row["rounds"]
    begin = time.monotonic()
    while len(done) < rounds or (
        len(done) < most_rounds
        and time.monotonic() - begin < seconds
        and not settled(done, reference)
    ):
        done += turns.rounds(len(done), len(done) + 1)
        if reference in turns.errors:
            raise BenchmarkError(f"the reference failed: {turns.errors[reference]}")
        row["others"] += turns.others
        turns.others.clear()
        keep(row)
