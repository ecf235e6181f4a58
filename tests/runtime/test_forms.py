"""Answers in the forms of other programs, read again by other libraries and by Praat."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxmood import Segment, Span
from voxmood.annotations.reading import read_spans
from voxmood.annotations.tiers import tiers
from voxmood.annotations.writing import TEXTS, write_text
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood_export.clips import speech_like

RATE = 16000
MODEL = f"{shipped_bundle()}@fp32"
CHANCES = {"neu": 0.125, "hap": 0.5, "ang": 0.25, "sad": 0.125}


def segment(start: float, end: float, label: str = "hap", **more: Any) -> Segment:
    speaker = more.pop("speaker", None)
    span = Span(start, end, speaker) if speaker else None
    return Segment(start, end, label, CHANCES, silent=False, span=span, **more)


SEGMENTS = [
    segment(0.5, 1.0, speaker="Zoë"),
    segment(1.2345, 2.0, speaker="b"),
    segment(1.75, 3.125, "ang", speaker="Zoë"),
    segment(3.125, 4.0, 'say "x" & <y>', speaker="Zoë"),
    Segment(4.0, 5.0, None, None, silent=True, span=Span(4.0, 5.0, "Zoë")),
    Segment(9.0, 99.0, None, None, silent=False, span=Span(9.0, 9.9, "b"), error="beyond the end"),
]
"""Two speakers with gaps, a silent segment, and one that could not be labeled."""


def times(found: list[Any]) -> list[tuple[float, float, str]]:
    return [(round(each[0], 3), round(each[1], 3), each[2]) for each in found]


def test_textgrid(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    path = tmp_path / "a.TextGrid"
    path.write_text(write_text("textgrid", SEGMENTS, name="a.wav", duration=12.0), "utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert grid.tierNames == ("Zoë", "Zoë: numbers", "b", "b: numbers")
    assert times(grid.getTier("Zoë").entries) == [
        (0.5, 1.0, "hap"), (1.75, 3.125, "ang"), (3.125, 4.0, 'say "x" & <y>'),
    ]  # fmt: skip
    assert grid.getTier("b: numbers").entries[0].label == "neu 0.125 hap 0.500 ang 0.250 sad 0.125"
    again = read_spans(path, tier="Zoë")
    assert [(each.start, each.end) for each in again] == [(0.5, 1), (1.75, 3.125), (3.125, 4)]


def test_praat_opens_it(tmp_path: Path) -> None:
    praat = shutil.which("praat")
    pytest.importorskip("praatio")
    if praat is None:
        pytest.skip("Praat is not installed")
    (tmp_path / "a.TextGrid").write_text(
        write_text("textgrid", SEGMENTS, name="a.wav", duration=12.0), "utf-8"
    )
    script = tmp_path / "a.praat"
    script.write_text(
        'Read from file: "a.TextGrid"\n'
        "tiers = Get number of tiers\nname$ = Get tier name: 1\n"
        "count = Get number of intervals: 1\ntext$ = Get label of interval: 1, 2\n"
        "start = Get start time of interval: 1, 2\nend = Get end time of interval: 1, 4\n"
        'writeInfoLine: tiers, "|", name$, "|", count, "|", text$, "|", start, "|", end\n'
    )
    done = subprocess.run(
        [praat, "--run", "--utf8", str(script)], capture_output=True, cwd=tmp_path, check=True
    )
    assert done.stdout.decode().strip() == "4|Zoë|6|hap|0.5|3.125"


def test_eaf(tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi.Elan")
    path = tmp_path / "a.eaf"
    path.write_text(write_text("eaf", SEGMENTS, name="a.wav", duration=12.0), "utf-8")
    eaf = elan.Eaf(str(path))
    assert list(eaf.get_tier_names()) == ["Zoë", "Zoë: numbers", "b", "b: numbers"]
    assert sorted(eaf.get_annotation_data_for_tier("Zoë")) == [
        (500, 1000, "hap"), (1750, 3125, "ang"), (3125, 4000, 'say "x" & <y>'),
    ]  # fmt: skip
    assert [each.start for each in read_spans(path, tier="b")] == [1.234]


GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 20
tiers? <exists>
size = 4
item []:
    item [1]:
        class = "IntervalTier"
        name = "Zoë"
        xmin = 0
        xmax = 20
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1
            text = "he said ""no"" twice"
        intervals [3]:
            xmin = 1
            xmax = 3.125
            text = ""
        intervals [4]:
            xmin = 3.125
            xmax = 20
            text = ""
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 20
        points: size = 2
        points [1]:
            number = 0.25
            mark = "klick"
        points [2]:
            number = 19.75
            mark = "ß"
    item [3]:
        class = "IntervalTier"
        name = "empty"
        xmin = 0
        xmax = 20
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 20
            text = ""
    item [4]:
        class = "TextTier"
        name = "no points"
        xmin = 0
        xmax = 20
        points: size = 0
"""


def tier_parts(text: str, name: str) -> list[str]:
    """The lines of a tier of a TextGrid after its name, without spaces."""
    (item,) = [part for part in re.split(r"item \[\d+\]:", text) if f'name = "{name}"' in part]
    lines = [line.strip() for line in item.partition("name")[2].splitlines()]
    return [re.sub(r"\.0$", "", line) for line in lines if line]


def test_tiers_of_a_textgrid_stay_as_they_are(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    base, path = tmp_path / "in.TextGrid", tmp_path / "out.TextGrid"
    base.write_text(GRID, "utf-8")
    spans = read_spans(base)
    answers = [segment(each.start, each.end, speaker=each.speaker) for each in spans]
    text = write_text("textgrid", answers, name="a.wav", duration=12.0, base=base)
    path.write_text(text, "utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    before = ("Zoë", "clicks", "empty", "no points")
    assert grid.tierNames == (*before, "Zoë: label", "Zoë: numbers")
    for name in before:
        assert tier_parts(text, name) == tier_parts(GRID, name)
    assert [each.label for each in grid.getTier("Zoë: label").entries] == ["", "hap", ""]
    again = write_text("textgrid", answers, name="a.wav", duration=12.0, base=path)
    names = re.findall('name = "(.*)"', again)
    assert names == [*before, "Zoë: label", "Zoë: numbers", "Zoë: label (2)", "Zoë: numbers (2)"]


def test_tiers_of_an_elan_file_stay_as_they_are(tmp_path: Path) -> None:
    """Also those that depend on others, as translations do."""
    elan = pytest.importorskip("pympi.Elan")
    base, path = tmp_path / "in.eaf", tmp_path / "out.eaf"
    eaf = elan.Eaf(author="a")
    eaf.remove_tier("default")
    eaf.add_linked_file("talk.wav", mimetype="audio/x-wav")
    eaf.add_tier("Zoë")
    eaf.add_annotation("Zoë", 500, 1000, "he said <no>")
    eaf.add_annotation("Zoë", 1750, 3125, "")
    eaf.add_linguistic_type("translation", "Symbolic_Association", timealignable=False)
    eaf.add_tier("Zoë, in German", ling="translation", parent="Zoë")
    eaf.add_ref_annotation("Zoë, in German", "Zoë", 700, "er sagte „nein“")
    eaf.add_tier("empty")
    eaf.to_file(str(base))
    spans = read_spans(base, tier="Zoë")
    answers = [segment(each.start, each.end, speaker=each.speaker) for each in spans]
    path.write_text(write_text("eaf", answers, name="b.wav", duration=12.0, base=base), "utf-8")
    found = elan.Eaf(str(path))
    before = ["Zoë", "Zoë, in German", "empty"]
    assert list(found.get_tier_names()) == [*before, "Zoë: label", "Zoë: numbers"]
    for name in before:
        assert found.tiers[name] == elan.Eaf(str(base)).tiers[name]
    assert found.get_annotation_data_for_tier("Zoë: label") == [(500, 1000, "hap")]
    assert found.get_linked_files()[0]["MEDIA_URL"] == "talk.wav"


def test_another_form_has_no_tiers_to_keep(tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    (tmp_path / "in.eaf").write_text("nothing that is read")
    text = write_text("textgrid", SEGMENTS, name="a.wav", duration=12.0, base=tmp_path / "in.eaf")
    assert re.findall('name = "(.*)"', text) == ["Zoë", "Zoë: numbers", "b", "b: numbers"]


def test_rttm(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(write_text("rttm", SEGMENTS, name="a b.wav", duration=12.0), "utf-8")
    lines = [line.split() for line in path.read_text("utf-8").splitlines()]
    assert lines[0] == [
        "SPEAKER",
        "a_b",
        "1",
        "0.500",
        "0.500",
        "<NA>",
        "hap",
        "Zoë",
        "0.500",
        "<NA>",
    ]
    assert all(len(line) == 10 for line in lines)
    found = [(each.start, each.end, each.speaker) for each in read_spans(path)]
    assert found == [
        (0.5, 1.0, "Zoë"), (1.234, 2.0, "b"), (1.75, 3.125, "Zoë"), (3.125, 4.0, "Zoë"),
    ]  # fmt: skip


def test_subtitles() -> None:
    text = write_text("srt", SEGMENTS, name="a.wav", duration=12.0)
    blocks = text.split("\n\n")
    assert blocks[0] == "1\n00:00:00,500 --> 00:00:01,000\nZoë: hap 50%"
    assert blocks[4:] == [""]
    late = write_text("srt", [segment(3661.5, 3662.0)], name="a", duration=0)
    assert late == "1\n01:01:01,500 --> 01:01:02,000\nhap 50%\n\n"


def test_audformat(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    from voxmood.annotations.tables import write_audformat

    segments = [*SEGMENTS, segment(5.0, 6.0, channel=2)]
    write_audformat(tmp_path / "db", segments, name="a.wav", model="m")
    table = audformat.Database.load(str(tmp_path / "db"))["segments"].get()
    assert list(table["label"]) == ["hap", "hap", "ang", 'say "x" & <y>', "hap"]
    assert list(table["speaker"].fillna("")) == ["Zoë", "b", "Zoë", "Zoë", ""]
    assert list(table["hap"]) == [0.5] * 5
    starts = table.index.get_level_values("start").total_seconds()
    assert list(np.round(starts, 6)) == [0.5, 1.2345, 1.75, 3.125, 5.0]


def test_windows_that_overlap_are_put_side_by_side() -> None:
    windows = [segment(float(k), k + 5.0) for k in range(4)]
    (tier,) = tiers(windows)
    assert [part[:2] for part in tier.parts] == [(0, 3), (3, 4), (4, 5), (5, 8)]


def test_given_segments_that_overlap_keep_their_times() -> None:
    given = [segment(0, 4, speaker="a"), segment(1, 2, speaker="a"), segment(4, 5, speaker="a")]
    found = tiers(given)
    assert [tier.name for tier in found] == ["a", "a (2)"]
    assert [part[:2] for part in found[0].parts] == [(0, 4), (4, 5)]
    assert [part[:2] for part in found[1].parts] == [(1, 2)]


def test_channels_have_tiers() -> None:
    both = [segment(0, 1, channel=2), segment(0, 1, channel=1)]
    assert [tier.name for tier in tiers(both)] == ["channel 2", "channel 1"]
    named = [segment(0, 1, channel=n, speaker="a") for n in (1, 2)]
    assert [tier.name for tier in tiers(named)] == ["a [channel 1]", "a [channel 2]"]


@pytest.mark.parametrize("form", TEXTS)
def test_nothing_to_write(form: str, tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    pytest.importorskip("pympi")
    silent = [Segment(0.0, 1.0, None, None, silent=True)]
    text = write_text(form, silent, name="a.wav", duration=1.0)
    path = tmp_path / f"a.{'TextGrid' if form == 'textgrid' else form}"
    path.write_text(text, "utf-8")
    if form not in ("srt", "textgrid"):
        assert read_spans(path) == []


@pytest.mark.parametrize("form", ["rttm", "csv", "TextGrid", "eaf"])
def test_large_files_take_seconds(form: str, tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    pytest.importorskip("pympi")
    path = tmp_path / f"a.{form}"
    if form == "csv":
        lines = (f"{k}.25,{k}.75,Zoë,{'x' * 80}\n" for k in range(25_000))
        path.write_text("start,end,speaker,label\n" + "".join(lines), "utf-8")
    elif form == "rttm":
        lines = (f"SPEAKER a 1 {k}.25 0.5 <NA> <NA> {'x' * 60} <NA> <NA>\n" for k in range(27_000))
        path.write_text("".join(lines), "utf-8")
    else:
        many = [segment(k + 0.25, k + 0.75, "x" * 60, speaker="Zoë") for k in range(4_000)]
        path.write_text(write_text(form.lower(), many, name="a", duration=0), "utf-8")
    size = path.stat().st_size
    begin = time.process_time()
    spans = read_spans(path, tier=None if form in ("csv", "rttm") else "Zoë")
    took = time.process_time() - begin
    assert len(spans) in (25_000, 27_000, 4_000)
    assert took * 10e6 / size < 20


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("praatio")
    pytest.importorskip("pympi")
    path = tmp_path / "call.wav"
    frames = np.stack([speech_like(3.0, RATE, seed) for seed in (0, 1)], axis=1)
    soundfile.write(path, frames, RATE)
    command = ["timeline", str(path), "--model", MODEL, "--window", "1", "--hop", "1"]
    command += ["--channel", "each"]
    assert main([*command, "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    labels = ["unsure" if row["unsure"] else row["label"] for row in rows if row["channel"] == 2]
    for form in ("textgrid", "eaf", "rttm"):
        output = tmp_path / f"out.{form}"
        assert main([*command, "--format", form, "--output", str(output)]) == 0
        assert capsys.readouterr().out == ""
        assert main([*command, "--format", form]) == 0
        assert re.sub('DATE="[^"]*"', "", capsys.readouterr().out) == re.sub(
            'DATE="[^"]*"', "", output.read_text("utf-8")
        )
        if form != "rttm":
            spans = read_spans(output, tier="channel 2")
            assert [(span.start, span.label) for span in spans] == list(
                zip([0.0, 1.0, 2.0], labels, strict=True)
            )
    assert main([*command, "--format", "srt"]) == 0
    assert f"channel 2: {labels[0]}" in capsys.readouterr().out
    assert main([*command, "--format", "srt", "--output", str(path)]) == 1
    assert "is also an input" in capsys.readouterr().err
    for wrong in (["--output", "x"], ["--json", "--format", "csv"]):
        with pytest.raises(SystemExit):
            main([*command, *wrong])


def test_audformat_is_a_folder_that_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("audformat")
    with pytest.raises(SystemExit):
        main(["timeline", "a.wav", "--format", "audformat"])
    assert "name it by --output" in capsys.readouterr().err


def test_segments_in_are_segments_out(tmp_path: Path) -> None:
    """TextGrid, EAF, RTTM and CSV in; the same times and names out, in each form."""
    pytest.importorskip("praatio")
    pytest.importorskip("pympi")
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(5.0, RATE, 0), RATE)
    wanted = [
        (0.5, 1.0, "Zoë"),
        (1.234, 2.0, "Łukasz"),
        (1.75, 3.125, "Zoë"),
        (3.125, 4.001, "Zoë"),
    ]
    first = tmp_path / "in.csv"
    lines = [f"{start},{end},{speaker}\n" for start, end, speaker in wanted]
    first.write_text("start,end,speaker\n" + "".join(lines), "utf-8")
    listed = first
    command = ["timeline", str(path), "--model", MODEL]
    for form, suffix in (("textgrid", "TextGrid"), ("eaf", "eaf"), ("rttm", "rttm")):
        output = tmp_path / f"out.{suffix}"
        options = ["--segments", str(listed), "--format", form, "--output", str(output)]
        assert main([*command, *options]) == 0
        found = [
            (round(span.start, 3), round(span.end, 3), span.speaker)
            for span in read_spans(output)
            if not (span.speaker or "").endswith("numbers")
        ]
        assert sorted(found) == wanted
        # What was written is the next input, without the tiers of numbers.
        lines = [f"{start},{end},{speaker}\n" for start, end, speaker in sorted(found)]
        listed.write_text("start,end,speaker\n" + "".join(lines), "utf-8")
