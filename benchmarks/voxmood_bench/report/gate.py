"""Whether a benchmark keeps its bounds, on ratios in one run, so that they hold on any machine."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from voxmood.comparison.bounds import Measure
from voxmood.errors import MissingFileError
from voxmood_bench.errors import ReportError
from voxmood_bench.report.schema import BenchmarkReport, Ratio

SIDE = re.compile(r"(?P<engine>.+?)(?: at (?P<seconds>[\d.]+) s)?")
COMPARABLE = ("bundle", "reference", "headline")
"""The fields that a report and an earlier one must have in common."""


@dataclass(frozen=True)
class Limits:
    """The bounds on an engine's figures beside the reference's; None leaves a figure unbounded."""

    max_time: float | None
    max_memory: float | None
    max_accuracy_loss: float | None
    min_agreement: float | None
    max_drift: float | None
    min_sqnr: float | None


def against_reference(report: BenchmarkReport, engine: str, limits: Limits) -> list[Measure]:
    """Return the figures of an engine beside those of the reference in the same run.

    Raises:
        ReportError: the report does not have the engine.
    """
    if engine not in report.engines:
        raise ReportError(
            f"the report has no engine {engine!r}; it has {', '.join(report.engines)}."
        )
    ratio, scores = _time_ratio(report, engine), report.scores.get(engine)
    time = Measure("time against the reference", None, at_most=limits.max_time)
    if ratio:
        time = replace(time, value=ratio.ratio, interval=ratio.interval)
    memory = _memory(report, engine)
    answers = report.values.get(engine) or report.answers.get(engine)
    ratio_db = _sqnr(answers.sqnr_db) if answers else None
    found = [
        time,
        Measure("peak memory against the reference", memory, at_most=limits.max_memory),
        *(_of_values if report.values else _of_labels)(report, engine, limits),
        Measure("SQNR", ratio_db, at_least=limits.min_sqnr, unit="dB"),
    ]
    if report.audio.labels or limits.max_accuracy_loss is not None:
        loss = None
        if scores:
            loss = report.scores[report.reference.engine].accuracy - scores.accuracy
        found.append(Measure("accuracy lost", loss, at_most=limits.max_accuracy_loss, unit="%"))
    return found


def _of_labels(report: BenchmarkReport, engine: str, limits: Limits) -> list[Measure]:
    answers, scores = report.answers.get(engine), report.scores.get(engine)
    return [
        Measure(
            "same label",
            answers.agreement if answers else None,
            at_least=limits.min_agreement,
            unit="%",
            interval=scores.intervals.agreement if scores else None,
        ),
        Measure("largest drift", answers.max_drift if answers else None, at_most=limits.max_drift),
    ]


def _of_values(report: BenchmarkReport, engine: str, limits: Limits) -> list[Measure]:
    answers = report.values.get(engine)
    values = answers.values if answers else {}
    concordances = [
        Measure(f"CCC of {name}", values[name].ccc if answers else None, limits.min_agreement)
        for name in report.labels
    ]
    largest = answers.max_error if answers else None
    return [
        *concordances,
        Measure("largest difference of a value", largest, at_most=limits.max_drift),
    ]


def _sqnr(decibels: float | None) -> float:
    """Return the SQNR; where there is none, the answers agree to the bit."""
    return math.inf if decibels is None else decibels


def against_earlier(
    new: BenchmarkReport, old: BenchmarkReport, engine: str, at_most: float
) -> list[Measure]:
    """Return how much an engine's ratios to the reference have grown since an earlier run.

    Raises:
        ReportError: the runs are not of the same bundle, reference, length and threads.
    """
    for name in COMPARABLE:
        theirs, ours = getattr(old, name), getattr(new, name)
        if theirs != ours:
            raise ReportError(
                f"the baseline is of another {name}: {theirs}, not {ours}; make a new one."
            )
    before, after = _time_ratio(old, engine), _time_ratio(new, engine)
    time = after.ratio / before.ratio if before and after else None
    old_memory, new_memory = _memory(old, engine), _memory(new, engine)
    memory = new_memory / old_memory if old_memory and new_memory else None
    return [
        Measure("time against the baseline", time, at_most=at_most),
        Measure("peak memory against the baseline", memory, at_most=at_most),
    ]


def read_bounds(path: Path) -> dict[str, float]:
    """Return the bounds of a file: a table `time` of `"ENGINE [at N s] / ENGINE [at N s]" = RATIO`.

    Raises:
        MissingFileError: the file is missing.
        ReportError: the file holds something else.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: is not valid TOML ({error}).") from None
    bounds = content.get("time")
    if set(content) != {"time"} or not isinstance(bounds, dict) or not bounds:
        raise ReportError(f"{path}: must have one table, `time`, and no other.")
    for pair, limit in bounds.items():
        if pair.count(" / ") != 1 or not isinstance(limit, (int, float)):
            raise ReportError(f'{path}: {pair!r} is not a bound; write "ENGINE / ENGINE" = 0.5.')
    return bounds


def ratios(report: BenchmarkReport, bounds: Mapping[str, float]) -> list[Measure]:
    """Return the ratios of medians that a file of bounds names.

    A ratio that was not measured has no value and keeps no bound.
    """
    found = []
    for pair, limit in bounds.items():
        ours, theirs = (_median(report, side) for side in pair.split(" / "))
        value = None if ours is None or theirs is None else ours / theirs
        found.append(Measure(pair, value, at_most=limit))
    return found


def _median(report: BenchmarkReport, side: str) -> float | None:
    found = SIDE.fullmatch(side)
    assert found is not None  # it matches everything
    where = (float(found["seconds"] or report.headline.seconds), report.headline.threads)
    for cell in report.speed:
        if (cell.seconds, cell.threads) == where and found["engine"] in cell.engines:
            return cell.engines[found["engine"]].median_ms
    return None


def _time_ratio(report: BenchmarkReport, engine: str) -> Ratio | None:
    latency = report.headline_cell.engines.get(engine)
    return latency.of_reference if latency else None


def _memory(report: BenchmarkReport, engine: str) -> float | None:
    peaks, reference = report.peaks, report.reference.engine
    return peaks[engine] / peaks[reference] if {engine, reference} <= peaks.keys() else None
