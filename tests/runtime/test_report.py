"""Bounds and the reports of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from voxmood import VoxmoodError
from voxmood.comparison.bounds import Measure, missed, passed
from voxmood.comparison.report import MAX_ROWS, Report, Table
from voxmood.files import write_whole

NAN = float("nan")
ODD = "caf\udcff|<b>\x1b[1m\n.wav"  # a name that is no text, no cell, no XML and no single line


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "met"),
    [
        (0.99, 0.99, None, True),
        (0.9899, 0.99, None, False),
        (0.5, None, 0.5, True),
        (0.51, None, 0.5, False),
        (2, 1, 3, True),
        (4, 1, 3, False),
        (float("inf"), 30, None, True),
        (NAN, 0.0, None, False),
        (NAN, None, 1.0, False),
        (None, 0.0, None, False),
        (1.0, NAN, None, False),
        (0.3, None, None, None),
        (NAN, None, None, None),
    ],
)
def test_bounds(
    value: float | None, at_least: float | None, at_most: float | None, met: bool | None
) -> None:
    measure = Measure("it", value, at_least, at_most)
    assert measure.met is met
    assert missed([measure]) == ([measure] if met is False else [])
    assert passed([measure]) is (met is True)


@pytest.mark.parametrize("unit", ["", "dB", "%"])
@pytest.mark.parametrize(
    ("value", "bound"), [(0.99994, 0.99995), (0.999899999, 0.9999), (0.98, 0.99), (31.59999, 31.6)]
)
def test_a_missed_bound_does_not_look_like_the_value(value: float, bound: float, unit: str) -> None:
    for measure in (Measure("it", value, at_least=bound, unit=unit),
                    Measure("it", bound, at_most=value, unit=unit)):  # fmt: skip
        measured, _, required = measure.complaint().partition(", must be at ")
        assert measured != required.split(" ", 1)[1]
        assert len(required) < 24


def test_without_bounds_nothing_is_passed() -> None:
    assert not passed([])
    assert "no bound" in Report("check", {}, []).verdict


def report(*, passes: bool) -> Report:
    measures = [
        Measure("share", 0.9873, at_least=0.98 if passes else 0.99, unit="%", interval=(0.9, 1.0)),
        Measure("gain", float("inf"), at_least=30, unit="dB"),
        Measure("mean", NAN),
    ]
    rows = [[ODD, "a"]] + [[f"{index}.wav", "b"] for index in range(MAX_ROWS)]
    return Report("check", {"of": ODD}, measures, [Table("all", ["file", "is"], rows)], {"n": NAN})


def test_text() -> None:
    text = report(passes=False).as_text()
    assert "98.73%    at least 99%    MISSED  90% to 100%" in text
    assert r"caf\udcff|<b>\x1b[1m\n.wav" in text
    assert "and 1 more" in text
    assert text.endswith("FAILED: share 98.73%, must be at least 99%")
    assert report(passes=True).as_text().endswith("\npassed")


def test_json() -> None:
    content = json.loads(report(passes=False).as_json())
    assert content["passed"] is False
    assert content["measures"]["share"] == {
        "value": 0.9873,
        "at_least": 0.99,
        "at_most": None,
        "unit": "%",
        "interval": [0.9, 1.0],
        "met": False,
    }
    assert content["measures"]["gain"]["value"] is None
    assert content["measures"]["gain"]["met"] is True
    assert content["n"] is None


def test_junit() -> None:
    suite = ElementTree.fromstring(report(passes=False).as_junit())[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    assert list(cases) == ["share", "gain"]
    failure = cases["share"]
    assert failure is not None
    assert failure.get("message") == "98.73%, must be at least 99%"
    assert cases["gain"] is None
    assert "FAILED" in (suite.findtext("system-out") or "")
    good = ElementTree.fromstring(report(passes=True).as_junit())[0]
    assert good.get("failures") == "0"
    assert good.find(".//failure") is None


def test_markdown() -> None:
    markdown = report(passes=False).as_markdown()
    assert markdown.startswith("### check: FAILED: share 98.73%, must be at least 99%\n")
    assert "| share | 98.73% | at least 99% | MISSED | 90% to 100% |" in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + 3 + 2 + MAX_ROWS
    assert r"caf\\udcff\|\<b>\\x1b\[1m\\n.wav" in markdown
    markdown.encode()


@pytest.mark.posix
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "report.xml"
    write_whole(path, "one")
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask

    def full(self: Path, data: bytes) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(VoxmoodError, match=r"report\.xml: cannot be written \(No space"):
        write_whole(path, "two")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]
