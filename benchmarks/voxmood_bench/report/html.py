"""The report as one HTML file that needs no other file: its plots are SVG inside it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.figure
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from voxmood.bundle.description import PRECISIONS
from voxmood_bench.report.schema import (
    AGAIN,
    DRIFT_PERCENTILES,
    BenchmarkReport,
    Ratio,
    SpeedCell,
    TimeProfile,
)
from voxmood_bench.report.tables import milliseconds, summary, tables

TEXT, GRID = "#010101", "#020202"
"""Colors of plots are names: the style of the page gives each its value, for light and dark."""

MARKERS = {  # matplotlib's, and the character that looks like it
    "o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★", "p": "⬟",
    "h": "⬢", "<": "◀", ">": "▶",
}  # fmt: skip
SERIES = len(MARKERS)
WIDTH, HEIGHT = 5.2, 3.6  # inches of 72 pixels: as wide as a phone


@dataclass(frozen=True)
class Key:
    """How an engine is drawn in every plot."""

    name: str
    color: str
    marker: str
    bold: bool

    @property
    def character(self) -> str:
        """Return the character that looks like the marker."""
        return MARKERS[self.marker]

    @property
    def variable(self) -> str:
        """Return the color as the style of the page calls it."""
        return _variables()[self.color]


@dataclass(frozen=True)
class Figure:
    """A plot with its title and caption."""

    title: str
    caption: str
    svg: Markup


def _series(index: int) -> str:
    return f"#0304{index % SERIES:02x}"


def _variables() -> dict[str, str]:
    series = {_series(index): f"var(--series-{index})" for index in range(SERIES)}
    return {TEXT: "currentColor", GRID: "var(--grid)"} | series


def as_html(report: BenchmarkReport) -> str:
    """Return the HTML page."""
    environment = Environment(
        loader=PackageLoader("voxmood_bench.report", ""), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    keys = _keys(report)
    return environment.get_template("report.html.jinja").render(
        report=report,
        summary=summary(report),
        facts=_facts(report),
        keys=keys,
        speed=list(_speed_figures(report, keys)),
        memory=list(_trade_offs(report, keys)),
        drift=_drift(report, keys) if report.answers else None,
        profiles=[_bars(profile) for profile in report.profile],
        confusions=report.scores.values(),
        confidence=list(_confidence(report, keys)),
        tables=list(tables(report)),
    )


def _keys(report: BenchmarkReport) -> list[Key]:
    names = [name for name in report.engines if not name.endswith(AGAIN)]
    return [
        Key(name, _series(index), list(MARKERS)[index % SERIES], name == report.main)
        for index, name in enumerate(names)
    ]


def _facts(report: BenchmarkReport) -> list[tuple[str, str]]:
    """Return the few figures that come first, of the main engine against the reference."""
    main, reference, peaks = report.main, report.reference.engine, report.peaks
    found = []
    latency = report.headline_cell.engines.get(main)
    if latency and latency.of_reference:
        found.append(_faster(latency.of_reference, reference))
    for name, other in report.headline_cell.engines.items():
        if name.removeprefix("voxmood ") in PRECISIONS and other.main_of_it:
            found.append(_faster(other.main_of_it, name))
    if {main, reference} <= peaks.keys():
        found.append((f"{peaks[main] / peaks[reference]:.2f}", f"of {reference}'s peak memory"))
    if main in report.answers:
        found.append((f"{report.answers[main].agreement:.1%}", "the same label"))
    if main in report.values:
        found.append((f"{report.values[main].lowest_ccc:.4f}", "the lowest CCC of a value"))
    if main in report.scores:
        before, after = report.scores[reference].accuracy, report.scores[main].accuracy
        found.append((f"{after:.3f}", f"accuracy, the reference {before:.3f}"))
    return found


def _faster(share: Ratio, than: str) -> tuple[str, str]:
    """Return how many times as fast the main engine is, given its share of another one's time."""
    low, high = share.interval
    doubt = "; within the noise of this machine" if share.in_noise else ""
    return (
        f"{1 / share.ratio:.1f} times",
        f"as fast as {than} ({1 / high:.1f} to {1 / low:.1f}{doubt})",
    )


def _axes(x: str, y: str, height: float = HEIGHT) -> Axes:
    figure = matplotlib.figure.Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _plain_logarithmic(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Set ticks at 1, 2 and 5 of every decade or where they are given, with plain numbers."""
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _svg(axes: Axes, name: str) -> Markup:
    figure = axes.get_figure(root=True)
    assert figure is not None
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    for color, variable in _variables().items():
        text = text.replace(color, variable)
    begin = text.index("<svg")  # after what only a file of its own needs
    return Markup(f'<svg role="img" aria-label="{name}"{text[begin + 4 :]}')


STYLE: Any = {
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.markersize": 6,
}


def _speed_figures(report: BenchmarkReport, keys: Sequence[Key]) -> Iterator[Figure]:
    for threads in dict.fromkeys(cell.threads for cell in report.speed):
        cells = [cell for cell in report.speed if cell.threads == threads]
        counted = f"{threads} {'thread' if threads == 1 else 'threads'}"
        if len(cells) == 1:
            yield _bars_of(cells[0], keys, f"Latency of {cells[0].seconds:g} s, {counted}")
            continue
        with matplotlib.rc_context(STYLE):
            axes = _axes("seconds of audio", "milliseconds for a second of it")
            for key in keys:
                measured = [cell for cell in cells if key.name in cell.engines]
                if not measured:
                    continue
                x = [cell.seconds for cell in measured]
                times = [(cell.engines[key.name], cell.seconds) for cell in measured]
                low = [latency.p25_ms / seconds for latency, seconds in times]
                median = [latency.median_ms / seconds for latency, seconds in times]
                high = [latency.p95_ms / seconds for latency, seconds in times]
                axes.fill_between(x, low, high, color=key.color, alpha=0.15, linewidth=0)
                axes.plot(
                    x, median, color=key.color, marker=key.marker, linewidth=2.2 if key.bold else 1
                )
            axes.set(xscale="log", yscale="log")
            _plain_logarithmic(axes.xaxis, [cell.seconds for cell in cells])
            _plain_logarithmic(axes.yaxis)
            title = f"Latency against length, {counted}"
            svg = _svg(axes, title)
        yield Figure(
            title, "Latency over length: median of steady runs, the band from p25 to p95.", svg
        )


def _bars_of(cell: SpeedCell, keys: Sequence[Key], title: str) -> Figure:
    """Return the latencies at the only length that was measured, a bar for each engine."""
    shown = [key for key in reversed(keys) if key.name in cell.engines]
    with matplotlib.rc_context(STYLE):
        axes = _axes(f"milliseconds for {cell.seconds:g} s of audio", "", 0.9 + 0.3 * len(shown))
        for place, key in enumerate(shown):
            latency = cell.engines[key.name]
            axes.barh(place, latency.median_ms, height=0.6, color=key.color)
            axes.plot([latency.p25_ms, latency.p95_ms], [place, place], color=TEXT, linewidth=1)
        axes.set_yticks(range(len(shown)), [key.name for key in shown])
        axes.grid(visible=False, axis="y")
        axes.set_axisbelow(True)
        svg = _svg(axes, title)
    return Figure(title, "Median of steady runs, the line from p25 to p95.", svg)


def _trade_offs(report: BenchmarkReport, keys: Sequence[Key]) -> Iterator[Figure]:
    """Yield memory, and accuracy or else agreement, against latency."""
    svg = _against_latency(report, keys, "Memory", "peak resident MB", report.peaks, {}, bottom=0)
    yield Figure("Memory against latency", "Left and down is better.", svg)
    score = "accuracy" if report.scores else "agreement"
    values = {engine: getattr(row, score) for engine, row in report.answers.items()}
    if report.values:
        score = "lowest CCC"
        values = {engine: row.lowest_ccc for engine, row in report.values.items()}
    intervals = {engine: getattr(row.intervals, score) for engine, row in report.scores.items()}
    svg = _against_latency(report, keys, _upper(score), score, values, intervals, bottom=None)
    bars = " Bars are 95 % intervals." if intervals else ""
    yield Figure(f"{_upper(score)} against latency", f"Left and up is better.{bars}", svg)


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _against_latency(
    report: BenchmarkReport,
    keys: Sequence[Key],
    what: str,
    y: str,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    bottom: float | None,
) -> Markup:
    cell = report.headline_cell
    with matplotlib.rc_context(STYLE):
        axes = _axes(f"milliseconds for {cell.seconds:g} s of audio", y)
        for key in keys:
            if key.name not in cell.engines or key.name not in values:
                continue
            x, value = cell.engines[key.name].median_ms, values[key.name]
            if key.name in intervals:
                axes.plot([x, x], intervals[key.name], color=key.color, linewidth=1, alpha=0.6)
            axes.plot(x, value, key.marker, color=key.color, markersize=11 if key.bold else 8)
        axes.set_xscale("log")
        _plain_logarithmic(axes.xaxis)
        axes.margins(0.1)
        axes.set_ylim(bottom=bottom)
        return _svg(axes, f"{what} against latency")


def _drift(report: BenchmarkReport, keys: Sequence[Key]) -> Figure:
    title = "Drift of probabilities"
    with matplotlib.rc_context(STYLE):
        axes = _axes("largest change of a probability in a recording", "% of recordings, at most")
        for key in keys:
            if key.name in report.answers and key.name != report.reference.engine:
                axes.plot(
                    report.answers[key.name].drift_quantiles, DRIFT_PERCENTILES, color=key.color,
                    marker=key.marker, markevery=4, linewidth=2.2 if key.bold else 1,
                )  # fmt: skip
        axes.set(xscale="log", ylim=(0, 101))
        svg = _svg(axes, title)
    return Figure(title, "How many recordings drift by no more than that. Left is better.", svg)


def _confidence(report: BenchmarkReport, keys: Sequence[Key]) -> Iterator[Figure]:
    """Yield what the confidence of answers is worth, where the recordings have labels."""
    rows = {key: row for key in keys if (row := report.scores.get(key.name)) and row.bins}
    if not rows:
        return
    yield _shares(
        "Reliability",
        "On the line, as many answers are right as the confidence says.",
        "confidence",
        {key: [(e.confidence, e.accuracy) for e in row.bins or ()] for key, row in rows.items()},
        diagonal=True,
    )
    yield _shares(
        "Risk and coverage",
        "The less confident answers are left out first. Higher is better.",
        "share of answers that are given",
        {key: [(e.share, e.accuracy) for e in row.risk or ()] for key, row in rows.items()},
    )


def _shares(
    title: str,
    caption: str,
    x: str,
    points: Mapping[Key, Sequence[tuple[float, float]]],
    diagonal: bool = False,
) -> Figure:
    """Return a plot of the share of right answers against another share."""
    with matplotlib.rc_context(STYLE):
        axes = _axes(x, "share of right answers")
        if diagonal:
            axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for key, places in points.items():
            axes.plot(
                *zip(*places, strict=True), color=key.color, marker=key.marker,
                linewidth=2.2 if key.bold else 1,
            )  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        return Figure(title, caption, _svg(axes, title))


@dataclass(frozen=True)
class Bars:
    """Where the time of one run goes: for each bar its name, its time and its share of all."""

    title: str
    parts: Sequence[tuple[str, str, float]]
    operators: Sequence[tuple[str, str, float]]


def _bars(profile: TimeProfile) -> Bars:
    whole = profile.milliseconds

    def bars(times: Mapping[str, float]) -> list[tuple[str, str, float]]:
        return [(name, milliseconds(ms), ms / whole) for name, ms in times.items()]

    operators = {name: ms for name, ms in profile.operators.items() if ms / whole >= 0.01}
    title = f"{profile.precision}, {milliseconds(whole)} ms"
    return Bars(title, bars(profile.all_parts), bars(operators))
