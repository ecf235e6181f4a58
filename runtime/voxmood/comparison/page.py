"""An evaluation as one page of HTML that needs no other file; its plots are SVG inside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from voxmood.comparison.bounds import Measure
from voxmood.comparison.evaluation import CONFUSION, RISK, Answered, Bin, Evaluation
from voxmood.comparison.report import Table, printable

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2025; --soft: #5b6570; --grid: #d4d9de;
  --bar: #1968a8; --heat: 25 104 168; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e8ec; --soft: #9aa5b0;
  --grid: #3a4249; --bar: #62b0f0; --heat: 95 170 230; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { color: var(--soft); margin: .2rem 0; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; max-width: 40rem; height: auto; font-size: 12px; fill: currentColor; }
"""
WIDTH, ROW, LEFT = 480, 22, 190  # pixels of the bars
SIZE = 300  # pixels of a plot of shares


def as_html(evaluation: Evaluation) -> str:
    """Return the page."""
    report = evaluation.report()
    head = [f"<p>{_text(name)}: {_text(fact)}</p>" for name, fact in report.facts.items()]
    body = [f"<h1>{_text(report.title)}</h1>", *head]
    figures = [(m.name, m.measured(), m.uncertainty()) for m in report.measures]
    body += _table(Table("Figures", ("", "measured", "95% interval"), figures))
    body += _bars([m for m in report.measures if m.interval and 0 <= (m.value or 0) <= 1])
    if evaluation.confusion:
        names = [label.name for label in evaluation.labels]
        body += _confusion(names, evaluation.confusion)
    if evaluation.bins:
        body += _reliability(evaluation.bins)
    if evaluation.risk:
        body += _risk(evaluation.risk)
    for table in report.tables:
        if table.title not in (CONFUSION, RISK):  # which are drawn above
            body += _table(table)
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(evaluation.model)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{content}\n</body></html>\n"
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{_text(table.title)}</h2><div><table>"
    yield f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in table.header)}</tr>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>"
    yield "</table></div>"


def _bars(measures: Sequence[Measure]) -> Iterator[str]:
    """Yield a bar for each share, with a line for its interval."""
    if not measures:
        return
    yield "<h2>Figures with their 95 % intervals</h2>"
    yield f'<svg viewBox="0 0 {LEFT + WIDTH + 60} {ROW * len(measures)}" role="img">'
    for number, measure in enumerate(measures):
        y = number * ROW
        value = measure.value or 0.0
        low, high = (LEFT + WIDTH * end for end in measure.interval or (0.0, 0.0))
        yield f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{_text(measure.name)}</text>'
        yield (
            f'<rect x="{LEFT}" y="{y + 4}" width="{WIDTH * value:.1f}" height="{ROW - 8}" '
            'fill="var(--bar)" opacity=".6"/>'
        )
        yield (
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + ROW / 2}" y2="{y + ROW / 2}" '
            'stroke="currentColor" stroke-width="2"/>'
        )
        yield f'<text x="{LEFT + WIDTH + 8}" y="{y + 15}">{value:.3f}</text>'
    yield "</svg>"


def _confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield the confusion matrix, each cell as dark as its share of the row."""
    yield "<h2>Confusion: true label (rows) and answer (columns)</h2><div><table>"
    yield f"<tr><th></th>{''.join(f'<th>{_text(name)}</th>' for name in names)}</tr>"
    for name, row in zip(names, counts, strict=True):
        total = sum(row) or 1
        cells = (
            f'<td style="background: rgb(var(--heat) / {0.7 * count / total:.2f})">{count}</td>'
            for count in row
        )
        yield f"<tr><th>{_text(name)}</th>{''.join(cells)}</tr>"
    yield "</table></div>"


def _reliability(bins: Sequence[Bin]) -> Iterator[str]:
    """Yield a plot of how often the answers are right, against their confidence."""
    most = max(each.answers for each in bins)
    yield "<h2>Share of right answers against confidence</h2>"
    yield "<p>On the line, the confidence is right. A larger dot is of more answers.</p>"
    yield from _square()
    yield f'<line x1="0" y1="{SIZE}" x2="{SIZE}" y2="0" stroke="var(--grid)"/>'
    for each in bins:
        radius = 3 + 9 * math.sqrt(each.answers / most)
        yield (
            f'<circle cx="{SIZE * each.confidence:.1f}" cy="{SIZE * (1 - each.accuracy):.1f}" '
            f'r="{radius:.1f}" fill="var(--bar)" opacity=".7"/>'
        )
    yield "</svg>"


def _risk(points: Sequence[Answered]) -> Iterator[str]:
    """Yield a plot of the accuracy of the most confident answers, against their share."""
    yield "<h2>Accuracy of the answers that are given, against their share</h2>"
    yield "<p>The less confident answers are left out first.</p>"
    yield from _square()
    places = " ".join(f"{SIZE * p.share:.1f},{SIZE * (1 - p.accuracy):.1f}" for p in points)
    yield f'<polyline points="{places}" fill="none" stroke="var(--bar)" stroke-width="2"/>'
    yield "</svg>"


def _square() -> Iterator[str]:
    """Yield the beginning of a plot of one share against another."""
    yield f'<svg viewBox="-40 -16 {SIZE + 60} {SIZE + 50}" style="max-width: 24rem" role="img">'
    yield f'<rect width="{SIZE}" height="{SIZE}" fill="none" stroke="var(--grid)"/>'
    for tick in (0, 0.5, 1):
        at = SIZE * tick
        yield f'<text x="{at}" y="{SIZE + 18}" text-anchor="middle">{tick:g}</text>'
        yield f'<text x="-8" y="{SIZE - at + 4}" text-anchor="end">{tick:g}</text>'
