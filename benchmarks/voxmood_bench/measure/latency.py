"""The latency of engines over rounds: medians, ratios, their intervals, and the machine's noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from voxmood_bench.engines.lineup import copy_of
from voxmood_bench.report.schema import Latency, Ratio, SpeedCell

RESAMPLES = 2000
WIDEST_INTERVAL = 0.05  # of a ratio, either way; until then rounds go on
DISTURBED = 0.1  # share of the machine's processors that others have during a turn

Round: TypeAlias = dict[str, list[float]]
"""Milliseconds of the runs of each engine's turn."""


@dataclass
class SpeedRow:
    """What is known so far of the speed at one length of audio and number of threads."""

    threads: int
    seconds: float  # of audio
    versions: dict[str, dict[str, str]] = field(default_factory=dict)  # of each engine's packages
    rounds: list[Round] = field(default_factory=list)
    others: list[float] = field(default_factory=list)  # share of the machine others had, by turn
    first_ms: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # why engines failed
    complete: bool = False  # whether there are enough rounds


def speed_cell(row: SpeedRow, main: str, reference: str) -> SpeedCell:
    """Return the latencies of a row, and their ratios to the reference and to the main engine."""
    names = [name for name in row.first_ms if name not in row.errors]
    copy = copy_of(main)
    margin = noise(row.rounds, main, copy) if {main, copy} <= set(names) else None

    def compared(ours: str, theirs: str) -> Ratio | None:
        if ours == theirs or ours not in names:
            return None
        value, low, high = ratio(row.rounds, ours, theirs)
        return Ratio(value, (low, high), within(value, low, high, margin or 0.0))

    engines = {}
    for name in names:
        runs = np.concatenate([turns[name] for turns in row.rounds if name in turns])
        p25, p75, p95 = (float(value) for value in np.percentile(runs, [25, 75, 95]))
        median = float(np.median(_medians(row.rounds, name)))
        engines[name] = Latency(
            first_ms=row.first_ms[name],
            median_ms=median,
            p25_ms=p25,
            p75_ms=p75,
            p95_ms=p95,
            runs=len(runs),
            real_time_factor=median / 1000 / row.seconds,
            of_reference=compared(name, reference),
            main_of_it=compared(main, name),
        )
    return SpeedCell(
        seconds=row.seconds,
        threads=row.threads,
        rounds=len(row.rounds),
        noise=margin,
        others=float(np.median(row.others)),
        disturbed=float(np.mean(np.array(row.others) > DISTURBED)),
        engines=engines,
        errors=row.errors,
    )


def _medians(rounds: Sequence[Round], name: str) -> npt.NDArray[np.float64]:
    return np.array([np.median(turns[name]) for turns in rounds if name in turns])


def ratio(rounds: Sequence[Round], ours: str, theirs: str) -> tuple[float, float, float]:
    """Return the ratio of two engines' medians, over the rounds that have both, and its interval.

    Returns:
        The ratio, and the ends of its 95 % percentile bootstrap interval (Efron and Tibshirani,
        1993); a round is drawn with both its turns, since they met the same load.
    """
    both = [turns for turns in rounds if ours in turns and theirs in turns]
    a, b = _medians(both, ours), _medians(both, theirs)
    drawn = np.random.default_rng(0).integers(len(both), size=(RESAMPLES, len(both)))
    ratios = np.median(a[drawn], axis=1) / np.median(b[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(a) / np.median(b)), float(low), float(high)


def noise(rounds: Sequence[Round], engine: str, copy: str) -> float:
    """Return how far from 1 the ratio of an engine to its copy may be: 0.03 is 3 % either way."""
    _, low, high = ratio(rounds, engine, copy)
    return max(high, 1 / low) - 1


def within(value: float, low: float, high: float, noise: float) -> bool:
    """Return whether a ratio cannot be told from 1."""
    return low <= 1 <= high or max(value, 1 / value) <= 1 + noise


def settled(rounds: Sequence[Round], reference: str) -> bool:
    """Return whether the intervals of all ratios to the reference are narrow enough."""
    names = set.intersection(*(set(turns) for turns in rounds)) - {reference}
    for name in names:
        value, low, high = ratio(rounds, name, reference)
        if max(high / value, value / low) - 1 > WIDEST_INTERVAL:
            return False
    return True
