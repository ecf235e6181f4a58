"""The summary of each speaker, and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import voxmood
from voxmood import Segment, Span
from voxmood.annotations.plot import draw_lanes
from voxmood.annotations.summary import as_text
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood_export.clips import speech_like

MODEL = f"{shipped_bundle()}@fp32"


def said(start: float, end: float, label: str, sure: float, speaker: str = "Zoë") -> Segment:
    other = "sad" if label == "hap" else "hap"
    span = Span(start, end, speaker)
    return Segment(start, end, label, {label: sure, other: 1 - sure}, silent=False, span=span)


TALK = [
    said(0, 2, "hap", 0.75),
    said(2, 3, "sad", 1.0, "b"),
    said(3, 4, "hap", 0.5),
    said(7, 8, "sad", 1.0),
    Segment(6.0, 7.0, None, None, silent=True, span=Span(6.0, 7.0, "Zoë")),
    Segment(6.0, 99.0, None, None, silent=False, span=Span(6.0, 99.0, "Zoë"), error="beyond"),
]


def test_summary() -> None:
    zoe, b = voxmood.summarize(TALK)
    assert (zoe.speaker, zoe.seconds, zoe.share) == ("Zoë", 4, 0.8)
    assert zoe.labels == {"hap": 0.75, "sad": 0.25}
    assert zoe.means["hap"] == pytest.approx((2 * 0.75 + 0.5 + 0) / 4)
    assert zoe.changes == 1
    assert zoe.course[0] == {"hap": 0.75, "sad": 0.25}
    assert zoe.course[2] is None
    assert (zoe.course[3] or {})["sad"] == 1
    assert (b.share, b.labels, b.changes) == (0.2, {"sad": 1.0}, 0)
    text = as_text([zoe, b])
    assert "Zoë: 4.0 s, 80% of all speech" in text
    assert "labels: hap 75%, sad 25%; changes: 1" in text
    assert voxmood.summarize([]) == voxmood.summarize(TALK[4:]) == []


def test_windows_that_overlap_count_once() -> None:
    windows = [Segment(float(k), k + 5.0, "hap", {"hap": 1.0}, silent=False) for k in range(4)]
    (summary,) = voxmood.summarize(windows)
    assert (summary.speaker, summary.seconds) == ("voxmood", 8)


def test_values() -> None:
    values = [
        Segment(0.0, 1.0, None, None, silent=False, values={"arousal": 1.0}),
        Segment(1.0, 4.0, None, None, silent=False, values={"arousal": 0.0}),
    ]
    (summary,) = voxmood.summarize(values)
    assert (summary.labels, summary.changes, summary.means) == ({}, None, {"arousal": 0.25})
    (axes,) = draw_lanes(values, "x").axes
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[1, 1], [0, 0]]


def test_lanes() -> None:
    figure = draw_lanes(TALK, "call.wav")
    assert [axes.get_ylabel() for axes in figure.axes] == ["Zoë", "b"]
    assert [len(axes.collections) for axes in figure.axes] == [3, 1]
    bars = [*figure.axes[0].collections, *figure.axes[1].collections]
    happy, again, sad, other = (np.asarray(bar.get_facecolor()).tolist() for bar in bars)
    assert happy == again != sad
    assert sad == other
    assert figure.axes[-1].get_xlim() == (0, 8)
    draw_lanes(TALK[4:], "nobody").canvas.draw()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(4.0, 16000, 0), 16000)
    listed = tmp_path / "a.csv"
    listed.write_text("start,end,speaker\n0,1,Zoë\n1,3,b\n", "utf-8")
    command = ["timeline", str(path), "--model", MODEL, "--segments", str(listed), "--summary"]
    picture = tmp_path / "a.png"
    assert main([*command, "--json", "--plot", str(picture)]) == 0
    summaries = json.loads(capsys.readouterr().out)
    assert [(each["speaker"], each["seconds"]) for each in summaries] == [("Zoë", 1), ("b", 2)]
    assert picture.stat().st_size > 1000
    assert main(command) == 0
    assert "b: 2.0 s, 67% of all speech" in capsys.readouterr().out
    assert main(["timeline", str(path), "--model", MODEL, "--summary"]) == 0
    assert "voxmood: 4.0 s, 100% of all speech" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "--csv"])
