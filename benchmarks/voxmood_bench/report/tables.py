"""The figures of a report as tables, for terminals, Markdown pages and the HTML page alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from voxmood.comparison.report import Table
from voxmood_bench.report.schema import (
    AnswersFailure,
    BenchmarkReport,
    Closeness,
    Latency,
    Ratio,
    Scores,
    SpeedCell,
    StartupFailure,
    ValuesCloseness,
)

NONE = "-"
IN_NOISE = "≈"


@dataclass(frozen=True)
class NotedTable(Table):
    """A table whose first column names the rows, with a note on what a reader must know."""

    note: str = ""


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def tables(report: BenchmarkReport) -> Iterator[NotedTable]:
    """Yield all tables of a report."""
    yield speed_table(report)
    for threads in dict.fromkeys(cell.threads for cell in report.speed):
        yield lengths_table(report, threads)
    yield startup_table(report)
    if report.scores:
        yield scores_table(report)
    yield values_table(report) if report.values else closeness_table(report)
    if any(row.folds for row in report.scores.values()):
        yield folds_table(report)
    yield versions_table(report)


def as_markdown(report: BenchmarkReport) -> str:
    """Return the whole report in Markdown."""
    parts = [f"# {report.bundle} against {report.reference.checkpoint}", summary(report)]
    for table in tables(report):
        parts += [f"## {table.title}", markdown(table.header, table.rows), table.note]
    parts += ["## What is timed", report.protocol]
    return "\n\n".join(filter(None, parts)) + "\n"


def summary(report: BenchmarkReport) -> str:
    """Return a few sentences that say what was measured, when, and on which machine."""
    audio = report.audio
    what = f"{audio.recordings} recordings of {audio.dataset}"
    if audio.speakers:
        what += f", {audio.speakers} speakers"
    if audio.labels:
        what += f" ({', '.join(f'{label} {count}' for label, count in audio.labels.items())})"
    if audio.left_out:
        left = ", ".join(f"{label} {count}" for label, count in audio.left_out.items())
        what += f"; left out by --map-labels: {left}"
    if audio.calibrated_on is not None:
        others = f"{audio.calibrated_on} other recordings"
        what += f"; NNCF is calibrated on {others if audio.calibrated_on else 'the same ones'}"
    return f"{report.date}, {report.machine.describe()}. Audio: {what}."


def milliseconds(value: float) -> str:
    """Return milliseconds with three digits, but no finer than a hundredth."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(value: float) -> str:
    """Return megabytes without decimals, or with one where they are fewer than ten."""
    return f"{value:.1f} MB" if value < 10 else f"{value:.0f} MB"


def decibels(value: float | None) -> str:
    """Return an SQNR, which is None where the logits agree to the bit."""
    return "exact" if value is None else f"{value:.1f} dB"


def ratio_text(ratio: Ratio | None) -> str:
    """Return a ratio with its interval, marked where it cannot be told from 1."""
    if ratio is None:
        return ""
    mark = f"{IN_NOISE} " if ratio.in_noise else ""
    return f"{mark}{_with_interval(ratio.ratio, ratio.interval, digits=2)}"


def _with_interval(value: float, interval: tuple[float, float], digits: int) -> str:
    low, high = interval
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def failed_row(name: str, why: str, header: Sequence[str]) -> list[str]:
    """Return the row of an engine that failed, as wide as the header."""
    return [name, f"failed: {why}", *[""] * (len(header) - 2)]


def speed_table(report: BenchmarkReport) -> NotedTable:
    """Return the latency of each engine at the headline length."""
    cell, main = report.headline_cell, report.main
    header = ["engine", "median ms", "p95 ms", "first call ms", "real-time factor"]
    header += ["of the reference's time", f"{main} takes of this time"]
    rows = []
    for name in report.engines:
        if name in cell.errors:
            rows.append(failed_row(name, cell.errors[name], header))
            continue
        latency = cell.engines[name]
        transformers = report.engines[name].versions.get("transformers")
        rows.append(
            [
                f"{name}, transformers {transformers}" if transformers else name,
                milliseconds(latency.median_ms),
                milliseconds(latency.p95_ms),
                milliseconds(latency.first_ms),
                f"{latency.real_time_factor:.4f}",
                ratio_text(latency.of_reference),
                ratio_text(latency.main_of_it),
            ]
        )
    title = f"Speed: {cell.seconds:g} s of audio, {cell.threads} threads"
    return NotedTable(title, header, rows, _noise_note(cell))


def _noise_note(cell: SpeedCell) -> str:
    note = f"{cell.rounds} rounds; in brackets 95 % intervals."
    if cell.noise is not None:
        note += f" Noise of the machine: {cell.noise:.1%} either way. {IN_NOISE} marks a ratio"
        note += " that cannot be told from 1."
    note += f" Other processes had {cell.others:.0%} of the machine (median over turns);"
    note += f" {cell.disturbed:.0%} of the turns stayed disturbed."
    return note


def lengths_table(report: BenchmarkReport, threads: int) -> NotedTable:
    """Return the median latency of each engine at each length of audio."""
    cells = [cell for cell in report.speed if cell.threads == threads]
    rows = [
        [name, *(_median_text(cell.engines.get(name)) for cell in cells)] for name in report.engines
    ]
    header = ["engine", *(f"{cell.seconds:g} s" for cell in cells)]
    noises = [f"{cell.noise:.1%}" for cell in cells if cell.noise is not None]
    note = "In brackets the share of the reference's time."
    if noises:
        note += f" Noise: {', '.join(noises)}."
    plural = "thread" if threads == 1 else "threads"
    return NotedTable(f"Median ms by length of audio, {threads} {plural}", header, rows, note)


def _median_text(latency: Latency | None) -> str:
    if latency is None:
        return NONE
    text, share = milliseconds(latency.median_ms), latency.of_reference
    if share is None:
        return text
    return f"{text} ({IN_NOISE if share.in_noise else ''}{share.ratio:.2f})"


def startup_table(report: BenchmarkReport) -> NotedTable:
    """Return what each engine takes on the disk, to start, and in memory."""
    header = ["engine", "installed", "model", "import", "load", "first call", "private", "peak"]
    rows = []
    for row in report.start:
        name = f"{row.engine}, {row.way}" if row.way else row.engine
        if isinstance(row, StartupFailure):
            rows.append(failed_row(name, row.error, header))
            continue
        rows.append(
            [
                name,
                f"{row.installed_mb:.0f} MB",
                megabytes(row.disk_mb) if row.disk_mb else NONE,
                f"{row.import_s:.2f} s",
                f"{row.load_s:.2f} s",
                f"{milliseconds(row.first_run_ms)} ms",
                f"{row.private_mb:.0f} MB",
                f"{row.peak_resident_mb:.0f} MB",
            ]
        )
    note = (
        "Medians over fresh processes. Private memory is the process's own; peak resident memory "
        "also counts mapped pages of the model's file, which the system can drop."
    )
    return NotedTable("Start and memory", header, rows, note)


def scores_table(report: BenchmarkReport) -> NotedTable:
    """Return how often each engine is right."""
    header = ["engine", "accuracy", "UAR", "calibration error", "McNemar p"]
    rows = []
    for row in report.accuracy:
        if isinstance(row, AnswersFailure):
            rows.append(failed_row(row.engine, row.error, header))
        elif isinstance(row, Scores):
            is_reference = row.engine == report.reference.engine
            rows.append(
                [
                    row.engine,
                    _with_interval(row.accuracy, row.intervals.accuracy, digits=3),
                    _with_interval(row.uar, row.intervals.uar, digits=3),
                    f"{row.ece:.3f}",
                    NONE if is_reference else f"{row.mcnemar_p:.2g}",
                ]
            )
    drawn = next(row.intervals.drawn_by for row in report.scores.values())
    note = (
        f"In brackets 95 % bootstrap intervals by {drawn}. UAR is the mean recall of the labels; "
        "McNemar's exact test asks whether the reference is right more or less often."
    )
    return NotedTable("Accuracy", header, rows, note)


def closeness_table(report: BenchmarkReport) -> NotedTable:
    """Return how near the answers of each engine are to the reference's."""
    header = ["engine", "same label", "SQNR", "largest logit error", "mean drift", "largest drift"]
    rows = []
    for row in report.accuracy:
        if isinstance(row, AnswersFailure):
            rows.append(failed_row(row.engine, row.error, header))
        elif isinstance(row, Closeness) and row.engine != report.reference.engine:
            rows.append(
                [
                    row.engine,
                    f"{row.agreement:.1%}",
                    decibels(row.sqnr_db),
                    f"{row.max_logit_error:.2g}",
                    f"{row.mean_drift:.2g}",
                    f"{row.max_drift:.2g}",
                ]
            )
    note = "Drift is the largest change of a probability in a recording."
    return NotedTable("Close to the reference", header, rows, note)


def values_table(report: BenchmarkReport) -> NotedTable:
    """Return how near the values of each engine are to the reference's."""
    header = ["engine"]
    for name in report.labels:
        header += [f"CCC of {name}", f"largest difference of {name}"]
    header += ["SQNR"]
    rows = []
    for row in report.accuracy:
        if isinstance(row, AnswersFailure):
            rows.append(failed_row(row.engine, row.error, header))
        elif isinstance(row, ValuesCloseness) and row.engine != report.reference.engine:
            cells = [row.engine]
            for name in report.labels:
                value = row.values[name]
                cells += [NONE if value.ccc is None else f"{value.ccc:.4f}"]
                cells += [f"{value.max_error:.2g}"]
            rows.append([*cells, decibels(row.sqnr_db)])
    note = "CCC is Lin's concordance correlation coefficient to the reference's values."
    return NotedTable("Close to the reference", header, rows, note)


def versions_table(report: BenchmarkReport) -> NotedTable:
    """Return the packages that each engine is made of."""
    rows = [
        [name, ", ".join(f"{package} {version}" for package, version in facts.versions.items())]
        for name, facts in report.engines.items()
        if facts.versions
    ]
    reference = report.reference
    note = f"{reference.engine}: {reference.how}" if reference.how else ""
    return NotedTable("Versions", ["engine", "packages"], rows, note)


def folds_table(report: BenchmarkReport) -> NotedTable:
    """Return the accuracy in every fold, which only IEMOCAP has."""
    scored = [(name, row.folds) for name, row in report.scores.items() if row.folds]
    names = list(scored[0][1])
    rows = [[name, *(f"{folds[fold]:.4f}" for fold in names)] for name, folds in scored]
    note = (
        "Fold k tests session k; the SUPERB score is the mean of folds tested by models that were "
        "each trained on the other sessions. The 0.6564 reported of wav2vec2-large-superb-er is no "
        "multiple of 1/1085, so it is no score of Session 1."
    )
    return NotedTable(
        "Accuracy by fold", ["engine", *(f"fold {name}" for name in names)], rows, note
    )
