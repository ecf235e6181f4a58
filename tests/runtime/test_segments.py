"""Given segments: each is labeled as `predict` labels it cut out, whatever lists it."""

from __future__ import annotations

import csv
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voxmood
from voxmood import AnnotationError, AudioError, Model, Span
from voxmood.annotations.reading import read_spans
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood_export.clips import speech_like

RATE = 16000
MODEL = f"{shipped_bundle()}@fp32"


@pytest.fixture(scope="module")
def model() -> Model:
    return voxmood.load(MODEL, threads=1)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    parts = [speech_like(10.0, RATE, seed) for seed in range(8)]
    return np.stack([np.concatenate(parts[:4]), np.concatenate(parts[4:])], axis=1)


@pytest.fixture(scope="module")
def path(frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segments") / "call.wav"
    soundfile.write(path, frames, RATE, subtype="FLOAT")
    return path


def cut(frames: np.ndarray, start: float, end: float) -> np.ndarray:
    return frames[round(start * RATE) : round(end * RATE)]


SPANS = [(31.0, 32.5), (0.0, 2.0), (1.0, 3.0), (1.0, 3.0), (0.5, 38.0), (4.09, 4.15), (39.0, 40.0)]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("channel", ["mix", 2])
def test_each_is_labeled_as_if_it_were_cut_out(
    precision: str, channel: Any, bundle: Path, frames: np.ndarray, path: Path
) -> None:
    model = voxmood.load(bundle, precision=precision, threads=1)
    segments = model.predict_segments(path, SPANS, channel=channel)
    assert [(each.start, each.end) for each in segments] == SPANS
    for segment in segments:
        part = cut(frames, segment.start, segment.end).astype(np.float32)
        alone = model.predict(part, sampling_rate=RATE, channel=channel)
        assert segment.probabilities == alone.probabilities
        assert (segment.label, segment.error) == (alone.label, None)


def test_of_each_channel_and_of_spans_with_a_channel(
    model: Model, frames: np.ndarray, path: Path
) -> None:
    spans = [Span(1.0, 2.0, "Zoë", channel=2), Span(0.5, 1.5, "b")]
    found = model.predict_segments(path, spans, channel="each")
    assert [(each.speaker, each.channel) for each in found] == [("Zoë", 2), ("b", 1), ("b", 2)]
    for each in found:
        part = cut(frames, each.start, each.end)[:, (each.channel or 0) - 1]
        assert each.probabilities == model.predict(part, sampling_rate=RATE).probabilities
    mixed = model.predict_segments(path, spans)
    assert [each.channel for each in mixed] == [2, None]


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (Span(39.0, 41.0), "reaches beyond the end of the recording at 40.000 s"),
        (Span(50.0, 51.0), "reaches beyond the end"),
        (Span(2.0, 2.0), "is 0.0000 s long, shorter than the 0.0559 s"),
        (Span(2.0, 2.01), "is 0.0100 s long"),
        (Span(3.0, 2.0), "ends before it begins"),
        (Span(-1.0, 2.0), "begins before the recording"),
        (Span(float("nan"), 2.0), "does not begin and end at a time"),
        (Span(0.0, float("inf")), "does not begin and end at a time"),
        (Span(0.0, 1.0, channel=3), "has no channel 3"),
        (Span(40.0, 40.03), "is 0.0300 s long"),
    ],
)
def test_what_cannot_be_labeled_says_why(
    span: Span, message: str, model: Model, path: Path
) -> None:
    span = Span(span.start, span.end, None, None, span.channel, "list.csv, line 7")
    good, bad = model.predict_segments(path, [Span(0.0, 1.0), span])
    assert good.label
    assert bad.label is None
    assert bad.probabilities is None
    assert message in (bad.error or "")
    assert str(path) in (bad.error or "")
    assert "[list.csv, line 7]" in (bad.error or "")


@pytest.mark.parametrize("segment", [None, 1.0, (1.0,), (1.0, 2.0, 3.0), ("1", "2"), "12"])
def test_what_is_no_segment(segment: Any, model: Model, path: Path) -> None:
    with pytest.raises(AudioError, match="pass \\(start, end\\) in seconds, or a Span"):
        model.predict_segments(path, [segment])


def test_an_end_that_was_rounded_up_is_the_end(
    model: Model, frames: np.ndarray, path: Path
) -> None:
    (found,) = model.predict_segments(path, [(39.0, 40.04)])
    part = cut(frames, 39.0, 40.0).astype(np.float32)
    assert found.probabilities == model.predict(part, sampling_rate=RATE).probabilities


def test_memory_does_not_grow_with_the_recording(model: Model, tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 10):
        path = tmp_path / "long.wav"
        soundfile.write(path, np.tile(speech_like(10.0, RATE, 0), 6 * minutes), RATE)
        last = 60.0 * minutes - 1
        spans = [
            (last, last + 0.5),
            (0.0, 0.5),
            *[(last / 2 + i / 10, last / 2 + 29) for i in range(20)],
        ]
        tracemalloc.start()
        model.predict_segments(path, spans[:3] + spans[3:5])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "start,end,speaker,label,channel,note\n1.5,2.25,Zoë,ang,2,x\n0,1,,,,\n", "utf-8"
    )
    one, other = read_spans(path)
    assert (one.start, one.end, one.speaker, one.label, one.channel) == (1.5, 2.25, "Zoë", "ang", 2)
    assert one.columns == {"speaker": "Zoë", "label": "ang", "note": "x"}
    assert (other.speaker, other.label, other.channel) == (None, None, None)
    assert one.listed == f"{path}, line 2"


RTTM = """;; a comment
SPKR-INFO call 1 <NA> <NA> <NA> unknown Zoë <NA> <NA>
SPEAKER call 1 0.50 1.25 <NA> <NA> Zoë <NA> <NA>

SPEAKER call 1 12.000 0.333 <NA> <NA> b <NA>
"""


def test_rttm(tmp_path: Path) -> None:
    path = tmp_path / "call.rttm"
    path.write_text(RTTM, "utf-8")
    spans = read_spans(path, recording="other")  # one recording, whatever its name is
    assert [(each.start, each.end, each.speaker, each.channel) for each in spans] == [
        (0.5, 1.75, "Zoë", None),
        (12.0, 12.333, "b", None),
    ]
    path.write_text(RTTM.replace("call 1 12", "call 2 12"), "utf-8")
    assert [each.channel for each in read_spans(path)] == [1, 2]
    path.write_text(RTTM.replace("call 1 12", "chat 1 12"), "utf-8")
    assert [each.speaker for each in read_spans(path, recording="chat")] == ["b"]
    with pytest.raises(AnnotationError, match="is for call, chat, and none of them is 'x'"):
        read_spans(path, recording="x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "start,stop\n1,2\n", "has no column `end`"),
        ("a.csv", "start,end\n1,2\n1;2,3\n", "line 3: has '1;2' as its start"),
        ("a.csv", "start,end\n1,2,3\n", "line 2: does not have a cell for each"),
        ("a.csv", "start,end\n1\n", "line 2: does not have a cell for each"),
        ("a.csv", "start,end,channel\n1,2,left\n", "line 2: has 'left' as its channel"),
        ("a.csv", "start,end,channel\n1,2,0\n", "line 2: has '0' as its channel"),
        ("a.rttm", "SPEAKER call 1 0.5 x <NA> <NA> b\n", "line 1: must be SPEAKER FILE"),
        ("a.rttm", "\nSPEAKER call 1 0.5\n", "line 2: must be SPEAKER FILE"),
        ("a.txt", "1 2", "are read from .csv, .rttm, .TextGrid and .eaf files"),
        ("a.TextGrid", "hello", "is not a TextGrid that can be read"),
        ("a.eaf", "hello", "is not XML"),
        ("a.eaf", '<?xml version="1.0" encoding="UTF-a"?><A/>', "is not XML"),
        ("a.eaf", "<A><B/></A>", "is not an ELAN file that can be read"),
        ("a.eaf", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
    ],
)
def test_a_bad_list_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    if name.endswith("TextGrid"):
        pytest.importorskip("praatio")
    if name.endswith("eaf"):
        pytest.importorskip("pympi")
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(AnnotationError, match=re.escape(message)) as caught:
        read_spans(path)
    assert str(path) in str(caught.value)


def test_a_list_that_is_not_text(tmp_path: Path) -> None:
    for name in ("a.csv", "a.rttm"):
        path = tmp_path / name
        path.write_bytes(b"\xff\xfe\x00SPEAKER")
        with pytest.raises(AnnotationError, match="not a text in UTF-8"):
            read_spans(path)
    with pytest.raises(voxmood.MissingFileError):
        read_spans(tmp_path / "gone.csv")


def test_tiers_of_praat(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    grid = textgrid.Textgrid()
    words = [(0.5, 1.0, "a"), (1.25, 2.125, 'say "b"')]
    grid.addTier(textgrid.IntervalTier("Zoë", words, 0, 4))
    grid.addTier(textgrid.PointTier("clicks", [(1.0, "x")], 0, 4))
    grid.addTier(textgrid.IntervalTier("empty", [], 0, 4))
    for form in ("long_textgrid", "short_textgrid"):
        path = tmp_path / "a.TextGrid"
        grid.save(str(path), form, includeBlankSpaces=True)
        spans = read_spans(path)
        assert [(each.start, each.end, each.label) for each in spans] == words
        assert {each.speaker for each in spans} == {"Zoë"}
        assert read_spans(path, tier="clicks") == read_spans(path, tier="empty") == []
        with pytest.raises(AnnotationError, match="has no tier 'x'; it has 'Zoë', 'clicks'"):
            read_spans(path, tier="x")


def test_tiers_of_elan(tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi.Elan")
    eaf = elan.Eaf()
    eaf.add_tier("Zoë")
    eaf.add_tier("empty")
    eaf.add_annotation("Zoë", 1250, 2125, 'say "b" & c')
    eaf.add_annotation("Zoë", 500, 1001, "ü")
    path = tmp_path / "a.eaf"
    eaf.to_file(str(path))
    assert [(each.start, each.end, each.label) for each in read_spans(path)] == [
        (0.5, 1.001, "ü"), (1.25, 2.125, 'say "b" & c'),
    ]  # fmt: skip
    assert read_spans(path, tier="empty") == []


def test_command(
    model: Model, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("start,end,speaker,label\n1,2,Zoë,ang\n39,41,b,\n0.5,1.5,b,sad\n", "utf-8")
    command = ["timeline", str(path), "--segments", str(listed), "--model", MODEL]
    assert main([*command, "--json"]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    expected = model.predict_segments(path, [(1.0, 2.0), (0.5, 1.5)])
    assert [row["start"] for row in rows] == [1, 39, 0.5]
    for row, segment in zip(rows[::2], expected, strict=True):
        assert row["label"] == segment.label
        assert row["probabilities"] == pytest.approx(segment.probabilities, abs=1e-6)
    assert [row["speaker"] for row in rows] == ["Zoë", "b", "b"]
    assert [row["manifest_label"] for row in rows] == ["ang", "", "sad"]
    assert "list.csv, line 3" in rows[1]["error"]
    assert "list.csv, line 3" in captured.err
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "  Zoë:  " in lines[0]
    assert main([*command, "--csv", "--channel", "each"]) == 1
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["channel"] for row in table] == ["1", "2"] * 3
    listed.write_text("start,end\n")
    assert main(command) == 1
    assert "lists no segments" in capsys.readouterr().err


def test_manifests_with_times(bundle: Path, frames: np.ndarray, path: Path, tmp_path: Path) -> None:
    name = f"{bundle}@fp32"
    model = voxmood.load(name, threads=1)
    other = tmp_path / "b.wav"
    soundfile.write(other, frames[: 2 * RATE], RATE, subtype="FLOAT")
    manifest = tmp_path / "list.csv"
    lines = [
        (path, "1", "2", "2"),
        (other, "0", "1.5", ""),
        (path, "0.5", "1.5", ""),
        (path, "9", "3", ""),
    ]
    manifest.write_text(
        "path,start,end,channel,label,note\n"
        + "".join(f"{p},{s},{e},{c},ang,n{i}\n" for i, (p, s, e, c) in enumerate(lines))
    )
    output = tmp_path / "out.csv"
    settings: dict[str, Any] = {"model": name, "threads": 1}
    tally = voxmood.batch([manifest], output, **settings)
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert (tally.recordings, tally.failed) == (2, 1)
    by_note = {row["note"]: row for row in rows}
    assert len(rows) == 4
    expected = {
        "n0": cut(frames[:, 1], 1, 2),
        "n1": cut(frames, 0, 1.5),
        "n2": cut(frames, 0.5, 1.5),
    }
    for note, part in expected.items():
        answer = model.predict(np.float32(part), sampling_rate=RATE)
        assert float(by_note[note]["ang"]) == pytest.approx(answer.numbers["ang"], abs=1e-6)
    assert "ends before it begins" in by_note["n3"]["error"]
    assert "list.csv, line 5" in by_note["n3"]["error"]
    whole = output.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole), 60):
        output.write_bytes(whole[:size])
        assert voxmood.batch([manifest], output, resume=True, **settings).failed == 1
        assert output.read_bytes() == whole
    with pytest.raises(voxmood.ManifestError, match="so there is no timeline to make"):
        voxmood.batch([manifest], output, force=True, windows=(1.0, 1.0), **settings)
    found = voxmood.evaluate(name, manifest=manifest, max_unreadable=1)
    labels = [model.predict(np.float32(p), sampling_rate=RATE).label for p in expected.values()]
    assert found.recordings == 3
    assert found.accuracy == pytest.approx(labels.count("ang") / 3)
    assert "line 5" in found.unreadable[f"{path} [9 to 3 s]"]
    compared = voxmood.compare(name, f"{bundle}@int8", manifest=manifest, max_unreadable=1)
    assert compared.recordings == 3
    manifest.write_text(
        "path,start,end,channel,label\n"
        f"{path},1,2,1,ang\n{path},1,2,2,ang\n{path},1000.0001,1001,,ang\n{path},1000.0002,1001,,ang\n"
    )
    found = voxmood.evaluate(name, manifest=manifest, max_unreadable=2)
    assert found.recordings == 2
    manifest.write_text(f"path,start,end,label\n{path},1,2,ang\n{path},1,2,ang\n")
    with pytest.raises(voxmood.ManifestError, match="a second time"):
        voxmood.evaluate(name, manifest=manifest)
    manifest.write_text(f"path,start,end\n{path},1,\n")
    with pytest.raises(voxmood.ManifestError, match="line 2: has '1' and '' as its start and end"):
        voxmood.batch([manifest], output, force=True, **settings)
