"""The report as one HTML file that needs nothing else: plots are SVG within it."""

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

from voxmood_bench.accuracy import DRIFT_QUANTILES
from voxmood_bench.engines import AGAIN, REFERENCE
from voxmood_bench.tables import Report, headline, milliseconds, summary, tables

TEXT, GRID = "#010101", "#020202"
"""Colours of plots are names: the page's style gives each its value, by day and by night."""

MARKERS = {  # matplotlib's, and the character that looks like it
    "o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★", "p": "⬟",
    "h": "⬢", "<": "◀", ">": "▶",
}  # fmt: skip
SERIES = len(MARKERS)
WIDTH, HEIGHT = 5.2, 3.6  # inches of 72 pixels: as wide as a phone


@dataclass(frozen=True)
class Key:
    """How an engine is drawn, in all plots alike."""

    name: str
    colour: str
    marker: str
    bold: bool

    @property
    def character(self) -> str:
        """The marker as text."""
        return MARKERS[self.marker]

    @property
    def variable(self) -> str:
        """The colour as the page's style knows it."""
        return _variables()[self.colour]


@dataclass(frozen=True)
class Figure:
    """A plot, and what it shows."""

    title: str
    caption: str
    svg: Markup


def _series(index: int) -> str:
    return f"#0304{index % SERIES:02x}"


def _variables() -> dict[str, str]:
    series = {_series(index): f"var(--series-{index})" for index in range(SERIES)}
    return {TEXT: "currentColor", GRID: "var(--grid)"} | series


def as_html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("voxmood_bench", ""), autoescape=True, trim_blocks=True,
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
        drift=_drift(report, keys),
        profiles=[_profile(facts) for facts in report["profile"]],
        confusions=[row for row in report["accuracy"] if "confusion" in row],
        tables=list(tables(report)),
        reference=REFERENCE,
    )


def _keys(report: Report) -> list[Key]:
    names = [name for name in report["engines"] if not name.endswith(AGAIN)]
    return [
        Key(name, _series(index), list(MARKERS)[index % SERIES], name == report["main"])
        for index, name in enumerate(names)
    ]


def _facts(report: Report) -> list[tuple[str, str]]:
    """The few figures that come first, of the main engine against the reference."""
    main, cell = report["main"], headline(report)
    found = []
    share = cell["engines"].get(main, {}).get("of_reference")
    if share:
        low, high = share["interval"]
        found.append((f"{share['ratio']:.2f}", f"of the time ({low:.2f} to {high:.2f})"))
    peaks = {
        row["engine"]: row["peak_resident_mb"]
        for row in report["start"]
        if "error" not in row and not row["way"]
    }
    if {main, REFERENCE} <= peaks.keys():
        found.append((f"{peaks[main] / peaks[REFERENCE]:.2f}", "of the peak memory"))
    for row in report["accuracy"]:
        if row["engine"] == main and "error" not in row:
            found.append((f"{row['agreement']:.1%}", "the same label"))
            if "accuracy" in row:
                before = report["accuracy"][0]["accuracy"]
                found.append((f"{row['accuracy']:.3f}", f"accuracy, the reference {before:.3f}"))
    return found


def _axes(x: str, y: str, height: float = HEIGHT) -> Axes:
    figure = matplotlib.figure.Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _plain_logarithmic(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Ticks at 1, 2 and 5 of every decade or where they are given, with plain numbers."""
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
    for colour, variable in _variables().items():
        text = text.replace(colour, variable)
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


def _speed_figures(report: Report, keys: Sequence[Key]) -> Iterator[Figure]:
    for threads in dict.fromkeys(cell["threads"] for cell in report["speed"]):
        cells = [cell for cell in report["speed"] if cell["threads"] == threads]
        with matplotlib.rc_context(STYLE):
            axes = _axes("seconds of audio", "milliseconds for a second of it")
            for key in keys:
                found = [
                    (cell["seconds"], cell["engines"][key.name])
                    for cell in cells
                    if key.name in cell["engines"]
                ]
                if not found:
                    continue
                x = [seconds for seconds, _ in found]
                names = ("p25_ms", "median_ms", "p95_ms")
                low, median, high = (
                    [facts[name] / seconds for seconds, facts in found] for name in names
                )
                axes.fill_between(x, low, high, color=key.colour, alpha=0.15, linewidth=0)
                axes.plot(
                    x, median, color=key.colour, marker=key.marker, linewidth=2.2 if key.bold else 1
                )
            axes.set(xscale="log", yscale="log")
            _plain_logarithmic(axes.xaxis, [cell["seconds"] for cell in cells])
            _plain_logarithmic(axes.yaxis)
            title = f"Latency against length, {threads} thread{'s' * (threads > 1)}"
            svg = _svg(axes, title)
        yield Figure(
            title, "Latency over length: median of steady runs, the band from p25 to p95.", svg
        )


def _trade_offs(report: Report, keys: Sequence[Key]) -> Iterator[Figure]:
    """Memory, and accuracy or else agreement, against latency."""
    latency = {name: facts["median_ms"] for name, facts in headline(report)["engines"].items()}
    peaks = {
        row["engine"]: row["peak_resident_mb"]
        for row in report["start"]
        if "error" not in row and not row["way"]
    }
    rows = {row["engine"]: row for row in report["accuracy"] if "error" not in row}
    score = "accuracy" if report["audio"]["labels"] else "agreement"
    scores = {name: row[score] for name, row in rows.items()}
    spans = {name: row["intervals"][score] for name, row in rows.items() if "intervals" in row}
    seconds = headline(report)["seconds"]
    for title, y, values, bars in (
        ("Memory against latency", "peak resident MB", peaks, {}),
        (f"{score.capitalize()} against latency", score, scores, spans),
    ):
        with matplotlib.rc_context(STYLE):
            axes = _axes(f"milliseconds for {seconds:g} s of audio", y)
            for key in keys:
                if key.name not in latency or key.name not in values:
                    continue
                x, value = latency[key.name], values[key.name]
                if key.name in bars:
                    axes.plot([x, x], bars[key.name], color=key.colour, linewidth=1, alpha=0.6)
                axes.plot(x, value, key.marker, color=key.colour, markersize=11 if key.bold else 8)
            axes.set_xscale("log")
            _plain_logarithmic(axes.xaxis)
            axes.margins(0.1)
            if values is peaks:
                axes.set_ylim(bottom=0)
            svg = _svg(axes, title)
        caption = "Left and down is better." if values is peaks else "Left and up is better."
        yield Figure(title, caption + (" Bars are 95 % intervals." if bars else ""), svg)


def _drift(report: Report, keys: Sequence[Key]) -> Figure:
    rows = {row["engine"]: row for row in report["accuracy"] if "drift_quantiles" in row}
    title = "Drift of probabilities"
    with matplotlib.rc_context(STYLE):
        axes = _axes("largest change of a probability in a recording", "% of recordings, at most")
        for key in keys:
            if key.name in rows and key.name != REFERENCE:
                drift = rows[key.name]["drift_quantiles"]
                axes.plot(
                    drift, DRIFT_QUANTILES, color=key.colour, marker=key.marker, markevery=4,
                    linewidth=2.2 if key.bold else 1,
                )  # fmt: skip
        axes.set(xscale="log", ylim=(0, 101))
        svg = _svg(axes, title)
    return Figure(title, "How many recordings drift by no more than that. Left is better.", svg)


def _profile(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Where the time goes, as bars that the page draws itself."""
    parts = facts["parts"] | {"between nodes": facts["between_nodes"]}
    whole = facts["milliseconds"]
    return {
        "title": f"{facts['precision']}, {milliseconds(whole)} ms",
        "parts": [(name, milliseconds(ms), ms / whole) for name, ms in parts.items()],
        "operators": [
            (name, milliseconds(ms), ms / whole)
            for name, ms in facts["operators"].items()
            if ms / whole >= 0.01
        ],
    }
