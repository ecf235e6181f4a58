"""Reports of a check as text for people, JSON, JUnit XML, and Markdown for a CI page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from voxmood.comparison.bounds import Measure, missed, passed

HEADER = ("", "measured", "bound", "", "95% interval")
MAX_ROWS = 50
"""The most rows of a table in text and Markdown, because CI pages are limited in size. JSON has
all rows.
"""


@dataclass(frozen=True)
class Table:
    """A table of texts with a title."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """The outcome of a check, which can be written in every format.

    Attributes:
        title: name of the check, such as `voxmood compare`.
        facts: what was compared on which audio, by name.
        measures: the figures with their bounds, which decide whether the check is passed.
        tables: details.
        data: further content of the JSON report beside `title`, `passed` and `measures`.
    """

    title: str
    facts: Mapping[str, str]
    measures: Sequence[Measure]
    tables: Sequence[Table] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there is at least one bound and all bounds are met."""
        return passed(self.measures)

    @property
    def verdict(self) -> str:
        """One line that says whether the check is passed, and if not, why."""
        if self.passed:
            return "passed"
        causes = [f"{measure.name} {measure.complaint()}" for measure in missed(self.measures)]
        return f"FAILED: {'; '.join(causes) or 'no bound was given'}"

    @property
    def _ordered(self) -> list[Measure]:
        # Measures with bounds come first.
        return sorted(self.measures, key=lambda measure: measure.met is None)

    def as_text(self) -> str:
        """Return the report as text for people at a terminal."""
        lines = [self.title, *_columns(self.facts.items()), ""]
        lines += _columns([HEADER, *map(_cells, self._ordered)])
        for table in self.tables:
            lines += ["", table.title, *_columns([table.header, *table.rows[:MAX_ROWS]])]
            lines += _left_out(table)
        return "\n".join([*lines, "", self.verdict])

    def as_json(self) -> str:
        """Return the report as JSON for scripts; figures that are not finite become null."""
        measures = {
            measure.name: {key: value for key, value in asdict(measure).items() if key != "name"}
            | {"met": measure.met}
            for measure in self.measures
        }
        content = {"title": self.title, "passed": self.passed, "measures": measures, **self.data}
        return json.dumps(_finite(content), indent=2, allow_nan=False)

    def as_junit(self) -> str:
        """Return the report as JUnit XML for CI systems, with one test case for each bound."""
        from xml.etree import ElementTree  # imported late, since `import voxmood` must be quick

        bounds = [measure for measure in self.measures if measure.met is not None]
        totals = {"tests": str(len(bounds)), "failures": str(len(missed(self.measures)))}
        suites = ElementTree.Element("testsuites", totals)
        suite = ElementTree.SubElement(suites, "testsuite", {"name": self.title, **totals})
        for measure in bounds:
            names = {"classname": self.title, "name": measure.name}
            case = ElementTree.SubElement(suite, "testcase", names)
            if not measure.met:
                ElementTree.SubElement(case, "failure", {"message": measure.complaint()})
        ElementTree.SubElement(suite, "system-out").text = self.as_text()
        ElementTree.indent(suites)
        xml: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
        return xml.decode()

    def as_markdown(self) -> str:
        """Return the report as Markdown for the summary page of a CI run."""
        blocks = [
            f"### {self.title}: {self.verdict}",
            "\n".join(f"- {name}: {_escaped(fact)}" for name, fact in self.facts.items()),
            _markdown(HEADER, list(map(_cells, self._ordered))),
        ]
        for table in self.tables:
            blocks += [f"**{table.title}**", _markdown(table.header, table.rows[:MAX_ROWS])]
            blocks += _left_out(table)
        return "\n\n".join(blocks)


def _cells(measure: Measure) -> tuple[str, ...]:
    met = {None: "", True: "ok", False: "MISSED"}[measure.met]
    return measure.name, measure.measured(), measure.required(), met, measure.uncertainty()


def _columns(rows: Any) -> list[str]:
    """Return rows as lines of text, in which each cell is as wide as the widest of its column."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(_escaped, cells))} |"

    return "\n".join([line(header), f"|{' --- |' * len(header)}", *map(line, rows)])


def _escaped(text: str) -> str:
    return re.sub(r"([|\\`*_<\[])", r"\\\1", printable(text))


def _left_out(table: Table) -> list[str]:
    more = len(table.rows) - MAX_ROWS
    return [f"  and {more} more; the JSON report lists all"] if more > 0 else []


def printable(text: str) -> str:
    """Return text on one line that every terminal and XML parser accepts, with the rest escaped."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]", lambda found: repr(found[0])[1:-1], escaped)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
