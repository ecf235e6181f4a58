"""Check what the app shows, without a screen: QT_QPA_PLATFORM=offscreen python test.py."""

from __future__ import annotations

import sys
from pathlib import Path

from app import TimelineView, Window, description  # type: ignore[import-not-found]
from PySide6.QtWidgets import QApplication

import voxmood

LABELS = ("ang", "hap", "neu")
PROBABILITIES = {"ang": 0.2, "hap": 0.5, "neu": 0.3}
HELLO = Path(__file__).parents[1] / "hello.wav"


def segment(place: int, *, silent: bool = False, unsure: bool | None = None) -> voxmood.Segment:
    """Return a segment of one second."""
    label, numbers = (None, None) if silent else ("hap", PROBABILITIES)
    return voxmood.Segment(place, place + 1, label, numbers, silent, unsure=unsure)


def columns(unsure: bool | None) -> list[set[int]]:
    """Return the colors of four columns: one that is sure, two that may be unsure, silence."""
    view = TimelineView(LABELS, stacked=True)
    view.resize(400, 200)
    view.segments = [
        segment(0, unsure=False),
        segment(1, unsure=unsure),
        segment(2, unsure=unsure),
        segment(3, silent=True, unsure=unsure),
    ]
    image = view.grab().toImage()
    return [
        {image.pixel(x, y) for x in range(100 * number + 20, 100 * number + 80) for y in range(170)}
        for number in range(4)
    ]


def check_columns() -> None:
    """Check that columns are hatched where the answer is unsure, and nowhere else."""
    for unsure in (None, False):
        sure, *both, silence = columns(unsure)
        assert both == [sure, sure], "columns of the same answer look different"
    hatched, silent = columns(True)[1:3], columns(True)[3]
    assert columns(True)[0] == sure, "a column that is sure is hatched"
    assert silent == silence, "silence is hatched"
    for each in hatched:
        assert not each & sure, "a column that is unsure is not covered"
        assert len(each) == len(sure) + 1, "a column that is unsure is not hatched"


def check_description() -> None:
    """Check the text about a column."""
    for unsure in (None, False):
        assert "unsure" not in description(segment(0, unsure=unsure))
    lines = description(segment(0, unsure=True)).splitlines()
    assert lines == ["0:00 to 0:01", "unsure, perhaps hap", "ang: 20%", "hap: 50%", "neu: 30%"]
    assert description(segment(0, silent=True, unsure=True)) == "0:00 to 0:01\nsilence"
    values = voxmood.Segment(0, 1, None, None, False, {"arousal": 0.5}, unsure=True)
    assert description(values).splitlines()[1:] == ["unsure", "arousal: 0.50"]


def check_window(app: QApplication) -> None:
    """Check that the legend counts what is unsure."""
    window = Window(voxmood.load(min_confidence=1.0))
    assert window.unsure.text() == ""
    window.done.connect(app.quit)
    window.open(str(HELLO))
    app.exec()
    assert not window.failed, window.message.text()
    count = len(window.view.segments)
    assert window.unsure.text() == f"▨ unsure {count} of {count}"


if __name__ == "__main__":
    app = QApplication(sys.argv[:1])
    check_columns()
    check_description()
    check_window(app)
