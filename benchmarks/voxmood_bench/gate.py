"""Does a benchmark keep its bounds? On ratios within one run, so that it holds on any machine."""

from __future__ import annotations

import argparse
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxmood.commands.options import add_bounds, add_report, finite, path, write_report
from voxmood.comparison.bounds import Measure
from voxmood.comparison.report import Report
from voxmood.errors import MissingFileError
from voxmood.files import check_output
from voxmood_bench.errors import ReportError
from voxmood_bench.machine import describe
from voxmood_bench.tables import VERSION, headline

SIDE = re.compile(r"(?P<engine>.+?)(?: at (?P<seconds>[\d.]+) s)?")
COMPARABLE = ("bundle", "reference", "headline")
"""What a report and its baseline must have in common."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("new", metavar="NEW.json", type=path, help="a report of `bench run`")
    parser.add_argument("--baseline", type=path, metavar="OLD.json", help="an earlier one")
    parser.add_argument("--engine", metavar="NAME", help="default: the bundle's main precision")
    parser.add_argument(
        "--max-time", type=finite, metavar="RATIO", help="at most this share of the reference's"
    )
    parser.add_argument(
        "--max-memory", type=finite, metavar="RATIO", help="peak, of the reference's, likewise"
    )
    parser.add_argument(
        "--max-accuracy-loss", type=finite, metavar="SHARE", help="against the reference's"
    )
    add_bounds(parser, None)
    parser.add_argument(
        "--max-growth",
        type=finite,
        default=1.1,
        metavar="RATIO",
        help="of those ratios against the baseline's, default: %(default)s",
    )
    parser.add_argument(
        "--bounds", type=path, metavar="FILE.toml", help="more bounds on ratios of time"
    )
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Checks; returns the exit status."""
    inputs = [file for file in (options.new, options.baseline, options.bounds) if file]
    for output in filter(None, (options.junit, options.markdown)):
        check_output(output, inputs)
    new = read_report(options.new)
    engine = options.engine or new["main"]
    measures = against_reference(new, engine, options)
    if options.baseline:
        measures += against_baseline(new, read_report(options.baseline), engine, options.max_growth)
    if options.bounds:
        measures += ratios(new, read_bounds(options.bounds))
    facts = {"report": str(options.new), "engine": engine, "machine": describe(new["machine"])}
    if options.baseline:
        facts["baseline"] = str(options.baseline)
    noise = headline(new)["noise"]
    if noise is not None:
        facts["noise of the machine"] = f"{noise:.1%} either way"
    return write_report(Report("voxmood bench gate", facts, measures), options)


def read_report(path: Path) -> dict[str, Any]:
    """A report of `voxmood bench run`.

    Raises:
        MissingFileError: it is not there.
        ReportError: it is something else, or newer than this release.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; `voxmood bench run` writes report.json.")
    try:
        report = json.loads(path.read_bytes())
    except ValueError as error:
        raise ReportError(f"{path}: is not valid JSON ({error}).") from None
    if not isinstance(report, dict) or "version" not in report or "speed" not in report:
        raise ReportError(f"{path}: is no report of `voxmood bench run`.")
    if report["version"] != VERSION:
        raise ReportError(
            f"{path}: is of version {report['version']}, this release reads {VERSION}; run the "
            "benchmark again."
        )
    return report


def against_reference(
    report: Mapping[str, Any], engine: str, options: argparse.Namespace
) -> list[Measure]:
    """An engine's figures beside those of the reference in the same run.

    Raises:
        ReportError: the report does not have the engine.
    """
    if engine not in report["engines"]:
        raise ReportError(
            f"the report has no engine {engine!r}; it has {', '.join(report['engines'])}."
        )
    found = [
        Measure(
            "time against the reference",
            _time(report, engine),
            at_most=options.max_time,
            interval=_ends(_share(report, engine).get("interval")),
        ),
        Measure(
            "peak memory against the reference", _memory(report, engine), at_most=options.max_memory
        ),
    ]
    row = _accuracy(report, engine)
    sqnr = row.get("sqnr_db")
    if "agreement" in row and sqnr is None:  # the logits agree to the bit
        sqnr = math.inf
    found += [
        Measure(
            "same label", row.get("agreement"), at_least=options.min_agreement, unit="%",
            interval=_ends(row.get("intervals", {}).get("agreement")),
        ),
        Measure("largest drift", row.get("max_drift"), at_most=options.max_drift),
        Measure("SQNR", sqnr, at_least=options.min_sqnr, unit="dB"),
    ]  # fmt: skip
    if report["audio"]["labels"] or options.max_accuracy_loss is not None:
        reference = _accuracy(report, report["reference"]["engine"]).get("accuracy")
        loss = None if "accuracy" not in row else reference - row["accuracy"]
        found.append(Measure("accuracy lost", loss, at_most=options.max_accuracy_loss, unit="%"))
    return found


def against_baseline(
    new: Mapping[str, Any], old: Mapping[str, Any], engine: str, at_most: float
) -> list[Measure]:
    """How an engine's ratios to the reference have grown since an earlier run.

    Raises:
        ReportError: the runs are not of the same bundle, reference, length and threads.
    """
    different = [key for key in COMPARABLE if new[key] != old[key]]
    if different:
        key = different[0]
        raise ReportError(
            f"the baseline is of another {key}: {old[key]}, not {new[key]}; make a new one."
        )
    found = []
    for name, figure in (("time", _time), ("peak memory", _memory)):
        before, after = figure(old, engine), figure(new, engine)
        growth = None if before is None or after is None else after / before
        found.append(Measure(f"{name} against the baseline", growth, at_most=at_most))
    return found


def read_bounds(path: Path) -> dict[str, float]:
    """A file of bounds: a table `time` of `"ENGINE [at N s] / ENGINE [at N s]" = RATIO`.

    Raises:
        MissingFileError: it is not there.
        ReportError: it is not such a file.
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
            raise ReportError(f'{path}: {pair!r} is no bound; write "ENGINE / ENGINE" = 0.5.')
    return bounds


def ratios(report: Mapping[str, Any], bounds: Mapping[str, float]) -> list[Measure]:
    """Ratios of medians that a file of bounds names; one that was not measured is missed."""
    found = []
    for pair, limit in bounds.items():
        ours, theirs = (_median(report, side) for side in pair.split(" / "))
        value = None if ours is None or theirs is None else ours / theirs
        found.append(Measure(pair, value, at_most=limit))
    return found


def _median(report: Mapping[str, Any], side: str) -> float | None:
    found = SIDE.fullmatch(side)
    assert found is not None  # it matches everything
    threads = report["headline"]["threads"]
    seconds = float(found["seconds"] or report["headline"]["seconds"])
    for cell in report["speed"]:
        if (cell["seconds"], cell["threads"]) == (seconds, threads):
            facts = cell["engines"].get(found["engine"])
            return None if facts is None else float(facts["median_ms"])
    return None


def _share(report: Mapping[str, Any], engine: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = headline(report)["engines"].get(engine, {}).get("of_reference", {})
    return found


def _time(report: Mapping[str, Any], engine: str) -> float | None:
    return _share(report, engine).get("ratio")


def _ends(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (interval[0], interval[1])


def _memory(report: Mapping[str, Any], engine: str) -> float | None:
    peaks = {
        row["engine"]: row["peak_resident_mb"]
        for row in report["start"]
        if not row["way"] and "error" not in row
    }
    reference = report["reference"]["engine"]
    return peaks[engine] / peaks[reference] if {engine, reference} <= peaks.keys() else None


def _accuracy(report: Mapping[str, Any], engine: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        (row for row in report["accuracy"] if row["engine"] == engine), {}
    )
    return found
