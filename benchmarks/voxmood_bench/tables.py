"""The figures of a report as tables, for the terminal, the README and the HTML page alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxmood.comparison.report import Table
from voxmood_bench.machine import describe

VERSION = 1
"""Of the report that `voxmood bench run` writes as JSON."""

Report = Mapping[str, Any]
NONE = "-"
IN_NOISE = "≈"


@dataclass(frozen=True)
class NotedTable(Table):
    """A table, whose first column names the rows; the note says below what a reader must know."""

    note: str = ""


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def tables(report: Report) -> Iterator[NotedTable]:
    """All tables of a report."""
    yield speed(report)
    for threads in dict.fromkeys(cell["threads"] for cell in report["speed"]):
        yield lengths(report, threads)
    yield start(report)
    if report["audio"]["labels"]:
        yield accuracy(report)
    yield closeness(report)
    if "folds" in report["accuracy"][0]:
        yield folds(report)


def as_markdown(report: Report) -> str:
    """The whole report in Markdown."""
    parts = [f"# {report['bundle']} against {report['reference']['checkpoint']}", summary(report)]
    for table in tables(report):
        parts += [f"## {table.title}", markdown(table.header, table.rows), table.note]
    parts += ["## What is timed", report["protocol"]]
    return "\n\n".join(filter(None, parts)) + "\n"


def summary(report: Report) -> str:
    """What was measured where, in a few sentences."""
    audio = report["audio"]
    what = f"{audio['recordings']} recordings of {audio['dataset']}"
    if audio["speakers"]:
        what += f", {audio['speakers']} speakers"
    if audio["labels"]:
        what += f" ({', '.join(f'{label} {count}' for label, count in audio['labels'].items())})"
    if audio["left_out"]:
        left = ", ".join(f"{label} {count}" for label, count in audio["left_out"].items())
        what += f"; left out by --map-labels: {left}"
    return f"{report['date']}, {describe(report['machine'])}. Audio: {what}."


def headline(report: Report) -> Mapping[str, Any]:
    """The cell of speed that stands for all where one must."""
    where = report["headline"]
    cell: Mapping[str, Any] = next(
        cell
        for cell in report["speed"]
        if cell["seconds"] == where["seconds"] and cell["threads"] == where["threads"]
    )
    return cell


def milliseconds(value: float) -> str:
    """Three figures, no more than a hundredth."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(value: float) -> str:
    """Whole ones, tenths where they are few."""
    return f"{value:.1f} MB" if value < 10 else f"{value:.0f} MB"


def decibels(value: float | None) -> str:
    """Of an SQNR, which is None where the logits agree to the bit."""
    return "exact" if value is None else f"{value:.1f} dB"


def ratio(facts: Mapping[str, Any] | None) -> str:
    """A ratio with its interval, marked where it cannot be told from 1."""
    if facts is None:
        return ""
    low, high = facts["interval"]
    mark = f"{IN_NOISE} " if facts["in_noise"] else ""
    return f"{mark}{facts['ratio']:.2f} ({low:.2f} to {high:.2f})"


def _failed(name: str, why: str, header: Sequence[str]) -> list[str]:
    return [name, f"failed: {why}", *[""] * (len(header) - 2)]


def speed(report: Report) -> NotedTable:
    """Latency at the headline length."""
    cell = headline(report)
    main = report["main"]
    header = ["engine", "median ms", "p95 ms", "first call ms", "real-time factor"]
    header += ["of the reference's time", f"{main} takes of it"]
    rows = []
    for name in report["engines"]:
        if name in cell["errors"]:
            rows.append(_failed(name, cell["errors"][name], header))
            continue
        facts = cell["engines"][name]
        values = [milliseconds(facts[key]) for key in ("median_ms", "p95_ms", "first_ms")]
        rows.append(
            [
                name,
                *values,
                f"{facts['real_time_factor']:.4f}",
                ratio(facts.get("of_reference")),
                ratio(facts.get("main_of_it")),
            ]
        )
    title = f"Speed: {cell['seconds']:g} s of audio, {cell['threads']} threads"
    return NotedTable(title, header, rows, noise_note(cell))


def noise_note(cell: Mapping[str, Any]) -> str:
    """How many rounds there were, and what noise the suite found in itself."""
    note = f"{cell['rounds']} rounds; in brackets 95 % intervals."
    if cell["noise"] is not None:
        note += f" Noise of the machine: {cell['noise']:.1%} either way. {IN_NOISE} marks a ratio"
        note += " that cannot be told from 1."
    note += f" Other processes had {cell['others']:.0%} of the machine (median over turns);"
    note += f" {cell['disturbed']:.0%} of the turns stayed disturbed."
    return note


def lengths(report: Report, threads: int) -> NotedTable:
    """Median latency against the length of the audio."""
    cells = [cell for cell in report["speed"] if cell["threads"] == threads]
    rows = []
    for name in report["engines"]:
        row = [name]
        for cell in cells:
            facts = cell["engines"].get(name)
            if facts is None:
                row.append(NONE)
                continue
            share = facts.get("of_reference")
            text = milliseconds(facts["median_ms"])
            if share:
                text += f" ({IN_NOISE if share['in_noise'] else ''}{share['ratio']:.2f})"
            row.append(text)
        rows.append(row)
    header = ["engine", *(f"{cell['seconds']:g} s" for cell in cells)]
    noises = [f"{cell['noise']:.1%}" for cell in cells if cell["noise"] is not None]
    note = "In brackets the share of the reference's time."
    if noises:
        note += f" Noise: {', '.join(noises)}."
    plural = "thread" if threads == 1 else "threads"
    return NotedTable(f"Median ms by length of audio, {threads} {plural}", header, rows, note)


def start(report: Report) -> NotedTable:
    """Disk, start and memory."""
    header = ["engine", "installed", "model", "import", "load", "first call", "private", "peak"]
    rows = []
    for row in report["start"]:
        name = f"{row['engine']}, {row['way']}" if row["way"] else row["engine"]
        if "error" in row:
            rows.append(_failed(name, row["error"], header))
            continue
        rows.append(
            [
                name,
                f"{row['installed_mb']:.0f} MB",
                megabytes(row["disk_mb"]) if row["disk_mb"] else NONE,
                f"{row['import_s']:.2f} s",
                f"{row['load_s']:.2f} s",
                f"{milliseconds(row['first_run_ms'])} ms",
                f"{row['private_mb']:.0f} MB",
                f"{row['peak_resident_mb']:.0f} MB",
            ]
        )
    note = (
        "Medians over fresh processes. Private memory is the process's own; peak resident memory "
        "also counts mapped pages of the model's file, which the system can drop."
    )
    return NotedTable("Start and memory", header, rows, note)


def accuracy(report: Report) -> NotedTable:
    """Scores on labels."""
    header = ["engine", "accuracy", "UAR", "calibration error", "McNemar p"]
    rows = []
    for row in report["accuracy"]:
        if "error" in row:
            rows.append(_failed(row["engine"], row["error"], header))
            continue
        rows.append(
            [
                row["engine"],
                _with_interval(row, "accuracy"),
                _with_interval(row, "uar"),
                f"{row['ece']:.3f}",
                NONE
                if row["engine"] == report["reference"]["engine"]
                else f"{row['mcnemar_p']:.2g}",
            ]
        )
    drawn = next(row["intervals"]["drawn_by"] for row in report["accuracy"] if "intervals" in row)
    note = (
        f"In brackets 95 % bootstrap intervals by {drawn}. UAR is the mean recall of the labels; "
        "McNemar's exact test asks whether the reference is right more or less often."
    )
    return NotedTable("Accuracy", header, rows, note)


def _with_interval(row: Mapping[str, Any], key: str) -> str:
    low, high = row["intervals"][key]
    return f"{row[key]:.3f} ({low:.3f} to {high:.3f})"


def closeness(report: Report) -> NotedTable:
    """How near to the reference."""
    header = ["engine", "same label", "SQNR", "largest logit error", "mean drift", "largest drift"]
    rows = []
    for row in report["accuracy"]:
        if row["engine"] == report["reference"]["engine"]:
            continue
        if "error" in row:
            rows.append(_failed(row["engine"], row["error"], header))
            continue
        rows.append(
            [
                row["engine"],
                f"{row['agreement']:.1%}",
                decibels(row["sqnr_db"]),
                f"{row['max_logit_error']:.2g}",
                f"{row['mean_drift']:.2g}",
                f"{row['max_drift']:.2g}",
            ]
        )
    note = "Drift is the largest change of a probability in a recording."
    return NotedTable("Close to the reference", header, rows, note)


def folds(report: Report) -> NotedTable:
    """Accuracy in every fold, which IEMOCAP alone has."""
    names = list(report["accuracy"][0]["folds"])
    rows = [
        [row["engine"], *(f"{row['folds'][name]:.4f}" for name in names)]
        for row in report["accuracy"]
        if "folds" in row
    ]
    note = (
        "Fold k tests session k; the SUPERB score is the mean of folds tested by models that were "
        "each trained on the other sessions. The 0.6564 reported of wav2vec2-large-superb-er is no "
        "multiple of 1/1085, so it is no score of Session 1."
    )
    return NotedTable(
        "Accuracy by fold", ["engine", *(f"fold {name}" for name in names)], rows, note
    )
