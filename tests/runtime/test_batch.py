"""Batches on one machine: the rows, going on after a stop, and what bad input gets."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from variations import one_at_a_time

import voxmood
from voxmood.archive.rows import Entry
from voxmood.archive.sources import Listing
from voxmood.bundle.description import read_bundle
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main

# A comma, a quote, line breaks of every kind, what is no UTF-8, and what a glob would take.
NAMES = ['a, "b".wav', "line\nbreak\r.wav", os.fsdecode(b"latin-\xe9.wav"), "z[1].wav", "ü.flac"]
HOP = ("--window", "0.5", "--hop", "0.25")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 0.2 to 1 s, and two that cannot be read."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 32000)
    for index, name in enumerate(NAMES):
        with (folder / name).open("wb") as file:
            form = name.rpartition(".")[2]
            soundfile.write(file, noise[: 3200 * (index + 1)], 16000, format=form)
    (folder / "empty.wav").touch()
    (folder / "gone.ogg").symlink_to("nowhere")
    return folder


def batch(*arguments: object) -> int:
    return main(["batch", *map(str, arguments)])


def read(output: Path) -> list[dict[str, Any]]:
    """The rows of a table, CSV in the form of JSON."""
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    labels = read_bundle(shipped_bundle()).labels
    with output.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        chances = [row.pop(label) for label in labels]
        row["probabilities"] = (
            dict(zip(labels, map(float, chances), strict=True)) if all(chances) else None
        )
        row["warnings"] = row["warnings"].split("; ") if row["warnings"] else []
        for name in ("duration_s", "start", "end"):
            if name in row:
                row[name] = float(row[name]) if row[name] else None
        if "silent" in row:
            row["silent"] = {"true": True, "false": False, "": None}[row["silent"]]
        row |= {name: row[name] or None for name in ("label", "error")}
    return rows


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_are_what_predict_says(folder: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"labels{suffix}"
    assert batch(folder, "--output", output, "--threads", 3) == 1
    model = voxmood.load(threads=1)
    expected = []
    for path in sorted(folder.iterdir(), key=os.fsencode):
        row: dict[str, Any] = dict.fromkeys(("label", "probabilities", "duration_s", "error"))
        row |= {"path": str(path), "warnings": []}
        try:
            said = model.predict(path)
            row |= {"label": said.label, "duration_s": said.duration, "warnings": [*said.warnings]}
            row["probabilities"] = {key: round(p, 6) for key, p in said.numbers.items()}
        except voxmood.VoxmoodError as error:
            row["error"] = str(error)
        expected.append(row)
    rows = [{name: row[name] for name in expected[0]} for row in read(output)]
    assert rows == expected
    assert sum(row["error"] is not None for row in expected) == 2


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_segments_are_those_of_the_timeline(folder: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"labels{suffix}"
    assert batch(folder, "--output", output, "--timeline", *HOP) == 1
    model = voxmood.load(threads=1)
    expected = [
        (str(folder / name), round(segment.start, 4), round(segment.end, 4), segment.label)
        for name in sorted(NAMES, key=os.fsencode)
        for segment in model.timeline(folder / name, 0.5, 0.25)
    ]
    rows = [row for row in read(output) if row["error"] is None]
    assert [(row["path"], row["start"], row["end"], row["label"]) for row in rows] == expected
    assert len(read(output)) == len(rows) + 2


@pytest.mark.parametrize(
    ("suffix", "options"), one_at_a_time([".csv", ".jsonl"], [(), ("--timeline", *HOP)])
)
def test_resumed_from_wherever_it_was_stopped(
    folder: Path, tmp_path: Path, suffix: str, options: tuple[str, ...]
) -> None:
    output = tmp_path / f"labels{suffix}"
    assert batch(folder, "--output", output, *options) == 1
    whole = output.read_bytes()
    for size in [10, *range(0, len(whole), len(whole) // 8), len(whole) - 1, len(whole)]:
        output.write_bytes(whole[:size])
        assert batch(folder, "--output", output, "--resume", *options) == 1
        assert output.read_bytes() == whole, size


@pytest.mark.posix
def test_killed_and_resumed(folder: Path, tmp_path: Path) -> None:
    sources = tmp_path / "many"
    sources.mkdir()
    for index in range(200):
        (sources / f"{index}.wav").symlink_to(folder / NAMES[index % 3])
    output = tmp_path / "labels.csv"
    command = [sys.executable, "-m", "voxmood", "batch", str(sources), "--output", str(output)]
    for number, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = subprocess.Popen(
            [*command, "--resume"],
            stderr=subprocess.PIPE,
            text=True,
            # Tests in the background of a shell ignore it, and so would their children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        size = output.stat().st_size if output.exists() else 0
        while not output.exists() or output.stat().st_size < size + 2000:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == status
        assert "Traceback" not in errors
    assert "--resume" in errors
    assert 0 < len(read(output)) < 200
    assert batch(sources, "--output", output, "--resume") == 0
    assert [row["path"] for row in read(output)] == sorted(map(str, sources.iterdir()))


def test_what_a_source_stands_for(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("label,path\nhap,recordings/ü.flac\nsad,recordings/not there.wav\n")
    output = tmp_path / "labels.jsonl"
    sources = [manifest, f"{folder}/z*.wav", folder / NAMES[0]]
    assert batch(*sources, "--output", output) == 1
    rows = {row["path"]: row["error"] for row in read(output)}
    gone = folder / "not there.wav"
    assert rows == {
        **{str(folder / name): None for name in (NAMES[0], NAMES[3], NAMES[4])},
        str(gone): f"{gone}: no such file. [{manifest}, line 3: recordings/not there.wav]",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{0}/nothing.wav", "--output", "{0}/new.csv"], "no such file or folder"),
        (["~/a", "--output", "{0}/new.csv"], "Only a shell replaces `~` with the home"),
        (["https://host/a.wav", "--output", "{0}/new.csv"], "download it first"),
        (["s3://archive/a", "--output", "{0}/new.csv"], "only --engine ray"),
        (["{0}/*.wma", "--output", "{0}/new.csv"], "no file matches it"),
        (["{0}/none", "--output", "{0}/new.csv"], "holds no recordings"),
        (["{0}/recordings", "{0}/recordings/ü.flac", "--output", "{0}/new.csv"], "named twice"),
        (["{0}/recordings", "--output", "{0}/new.parquet"], "need --engine ray"),
        (["{0}/recordings", "--output", "{0}/no/new.csv"], "cannot be written"),
        (["{0}/recordings", "--output", "{0}/old.csv"], "--resume continues it, --force"),
        (["{0}/recordings", "--output", "{0}/lone.csv"], "lone.csv.json: already exists"),
        (["{0}/recordings", "--output", "{0}/old.csv", "--resume"], "was not made with the model"),
        (["{0}/recordings", "--output", "{0}/new.csv", "--timeline", "--hop", "0"], "a hop of 0 s"),
    ],
)
def test_bad_input(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "none").mkdir()
    for name in ("old.csv", "lone.csv.json"):
        (tmp_path / name).write_text("mine\n")
    assert batch(*(argument.format(tmp_path) for argument in arguments)) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "old.csv").read_text() == "mine\n"
    assert (tmp_path / "lone.csv.json").read_text() == "mine\n"
    assert not (tmp_path / "new.csv").exists()


def test_another_model_is_not_mixed_in(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "labels.csv"
    bundle = Path(__file__).parents[2] / "models" / "voxmood-small" / "bundle"
    batch(folder, "--output", output)
    rows = output.read_bytes()
    for other in (("--model", f"{bundle}@int8"), ("--timeline",)):
        assert batch(folder, "--output", output, "--resume", *other) == 1
        assert "was not made with the model, precision, windows" in capsys.readouterr().err
        assert output.read_bytes() == rows
    assert batch(folder, "--output", output, "--force", "--timeline") == 1
    assert "start" in read(output)[0]


def test_a_long_listing_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        listing = Listing(Entry(f"archive/{index:060}.wav") for index in range(30_000))
        assert listing.discard(f"archive/{7:060}.wav")
        assert sum(1 for _ in listing) == len(listing) == 29_999
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 19  # the paths alone are 2 MB


@pytest.fixture
def listed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a manifest and other names of it and of a bundle's file."""
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\nrecordings/ü.flac,hap\n")
    (tmp_path / "link.csv").symlink_to("list.csv")
    (tmp_path / "there").symlink_to("recordings")
    os.link(manifest, tmp_path / "hard.csv")
    os.link(folder / "ü.flac", tmp_path / "sound.csv")
    (tmp_path / "list.jsonl.json").symlink_to("list.csv")
    bundle = shutil.copytree(shipped_bundle(), tmp_path / "bundle")
    (tmp_path / "bundle.csv").symlink_to(bundle / "bundle.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("again", ["--force", "--resume"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["list.csv", "--output", "list.csv"],
        ["list.csv", "--output", "./recordings/../list.csv"],
        ["list.csv", "--output", "there/../list.csv"],
        ["list.csv", "--output", "{0}/list.csv"],
        ["list.csv", "--output", "link.csv"],
        ["link.csv", "--output", "list.csv"],
        ["list.csv", "--output", "hard.csv"],
        ["*st.csv", "--output", "list.csv"],
        ["recordings/z*.wav", "list.cs[v]", "--output", "hard.csv"],
        ["list.csv", "--output", "sound.csv"],  # a recording that it lists
        ["recordings", "--output", "sound.csv"],
        ["list.csv", "--output", "list.jsonl"],  # beside which its description would be
        ["recordings", "--output", "bundle.csv", "--model", "bundle"],
    ],
)
def test_no_input_is_written_to(
    listed: Path, arguments: list[str], again: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path for path in listed.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert batch(*(argument.format(listed) for argument in arguments), again) == 1
    assert "is also an input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in listed.rglob("*") if path.is_file()} == before


def test_an_output_may_lie_in_a_folder_of_recordings(folder: Path) -> None:
    output = folder / "labels.csv"
    for again in ((), ("--force",), ("--resume",)):
        assert batch(folder, "--output", output, *again) == 1
        assert len(read(output)) == 7


def test_paths_are_used_as_they_were_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A symbolic link and `..` behind it lead elsewhere than the letters say."""
    other = tmp_path / "deep" / "other"
    other.mkdir(parents=True)
    (tmp_path / "link").symlink_to(other)
    for place, name in ((tmp_path, NAMES[0]), (tmp_path / "deep", NAMES[4])):
        sound, rate = soundfile.read(folder / name)
        soundfile.write(place / "a.wav", sound, rate)
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\nlink/../a.wav\n")
    monkeypatch.chdir(tmp_path)
    expected = voxmood.load().predict("link/../a.wav").duration
    assert expected != voxmood.load().predict("a.wav").duration
    for source in ("link/../a.wav", ".//link/.././a.wav", "link/..", "link/../*.wav", "list.csv"):
        assert batch(source, "--output", "labels.jsonl", "--force") == 0
        [row] = read(tmp_path / "labels.jsonl")
        assert row["path"] == "link/../a.wav"
        assert row["duration_s"] == expected


def test_what_is_skipped_and_why_recordings_fail_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    (archive / ".git").mkdir(parents=True)
    skipped = ["a.txt", "b.TXT", "c.json", "README", ".hidden.txt", ".git/d.txt", "._a.wav"]
    for name in [*skipped, *(f"{index}.wav" for index in range(5)), "a.mp4", "b.sph"]:
        (archive / name).touch()
    for index in range(3):
        (archive / f"gone{index}.opus").symlink_to("nowhere")
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    for name, samples in (("one.flac", 100), ("two.flac", 200), ("good.flac", 16000)):
        soundfile.write(archive / name, noise[:samples], 16000)
    (archive / "wide.wav").write_bytes(b"PK\x03\x04")
    output = tmp_path / "labels.csv"
    assert batch(archive, "--output", output) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{output}: 14 recordings, 13 of them with an error",
        "       7  is empty.",
        "       3  no such file.",
        "       2  0.0063 s is shorter than the 0.0559 s that the model needs.",
        "       1  other causes",
        "4 files were skipped because of their suffixes: 2 .txt, 1 without one, 1 .json.",
    ]
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    assert batch(archive, "--output", output, "--resume") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("14 recordings, 13 of them with an error")
    assert len(lines) == 6


def test_every_suffix_that_decoders_read_gets_a_row(tmp_path: Path) -> None:
    from voxmood.audio.formats import SUFFIXES

    for name in (".sph", ".w64", ".aifc", ".snd", ".voc", ".rf64", ".bwf", ".wave", ".mpga"):
        assert name in SUFFIXES
    for name in (".mp1", ".mp2", ".mp4", ".mov", ".mkv", ".m4b", ".spx", ".ape", ".wv"):
        assert name in SUFFIXES
    archive = tmp_path / "archive"
    archive.mkdir()
    for suffix in SUFFIXES:
        (archive / f"a{suffix}").touch()
    assert batch(archive, "--output", tmp_path / "labels.csv") == 1
    assert {Path(row["path"]).suffix for row in read(tmp_path / "labels.csv")} == SUFFIXES


def test_progress_in_lines_where_there_is_no_terminal(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "labels.csv"
    assert batch(folder, "--output", output) == 1
    assert capsys.readouterr().err == ""  # of a run of a moment
    monkeypatch.setattr("voxmood.commands.terminal.progress.FIRST_SECONDS", 0.0)
    assert batch(folder, "--output", output, "--force") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"voxmood: {count} of 7 recordings" for count in range(1, 7)
    ]


@pytest.mark.parametrize(
    ("suffix", "options"), one_at_a_time([".csv", ".jsonl"], [(), ("--timeline", *HOP)])
)
def test_columns_of_manifests_are_carried(
    folder: Path, tmp_path: Path, suffix: str, options: tuple[str, ...]
) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(
        "speaker,path,label,neu,manifest_label\n"
        'w7,"recordings/a, ""b"".wav",hap,0.5,"a\r\nb; c"\n'
        "w8,recordings/gone.wav,sad,,ü\n",
        newline="",
    )
    two.write_text("path,Speaker,error\nrecordings/ü.flac,w9,none\n")
    alone = folder / NAMES[3]
    output = tmp_path / f"labels{suffix}"
    assert batch(one, two, alone, "--output", output, *options) == 1
    carried: dict[str, list[str | None]] = {
        str(folder / NAMES[0]): ["w7", "hap", "0.5", "a\r\nb; c", None, None],
        str(folder / "gone.wav"): ["w8", "sad", "", "ü", None, None],
        str(folder / NAMES[4]): [None, None, None, None, "w9", "none"],
        str(alone): [None] * 6,
    }
    names = ["speaker", "manifest_label", "manifest_neu", "manifest_manifest_label"]
    names += ["Speaker", "manifest_error"]
    rows = read(output)
    assert {row["path"] for row in rows} == set(carried)
    for row in rows:
        values = [row[name] for name in names]
        if suffix == ".csv":  # which has no difference between nothing and an empty text
            assert values == [value or "" for value in carried[row["path"]]]
        else:
            assert list(row)[-6:] == names
            assert values == carried[row["path"]]
        assert (row["error"] is None) == (Path(row["path"]).name != "gone.wav")
    whole = output.read_bytes()
    for size in range(0, len(whole), len(whole) // 8):
        output.write_bytes(whole[:size])
        assert batch(one, two, alone, "--output", output, "--resume", *options) == 1
        assert output.read_bytes() == whole, size


def test_other_columns_are_another_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "list.csv", tmp_path / "labels.jsonl"
    manifest.write_text("path,speaker\nrecordings/ü.flac,w7\n")
    assert batch(manifest, "--output", output) == 0
    manifest.write_text("path,speaker,age\nrecordings/ü.flac,w7,31\n")
    assert batch(manifest, "--output", output, "--resume") == 1
    assert "manifest columns" in capsys.readouterr().err


def test_errors_quote_the_manifest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "list.csv", tmp_path / "labels.jsonl"
    absolute = tmp_path / "nowhere.wav"
    manifest.write_text(
        f"path\nrecordings/../gone.wav\n{absolute}\n~/a.wav\nhttps://host/a.wav\nrecordings/empty.wav\n"
    )
    assert batch(manifest, "--output", output) == 1
    errors = {row["error"] for row in read(output)}
    assert errors == {
        f"{tmp_path}/recordings/../gone.wav: no such file. [{manifest}, line 2: "
        "recordings/../gone.wav]",
        f"{absolute}: no such file. [{manifest}, line 3: {absolute}]",
        f"{tmp_path}/~/a.wav: no such file. [{manifest}, line 4: ~/a.wav]",
        f"https://host/a.wav: no such file. It is a URL; download it first. [{manifest}, line 5: "
        "https://host/a.wav]",
        f"{folder}/empty.wav: is empty. [{manifest}, line 6: recordings/empty.wav]",
    }
    assert "       3  no such file.\n" in capsys.readouterr().out
    manifest.write_text("path\nrecordings/ü.flac\n./recordings/ü.flac\n")
    assert batch(manifest, "--output", output, "--force") == 1
    assert (
        f"is named twice, but a table has one row for it; remove one of the two. [{manifest}, "
        in (capsys.readouterr().err)
    )


@pytest.mark.parametrize("edit", ["column", "line ends", "row", "blank line"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_that_was_edited_is_left_alone(
    tmp_path: Path, suffix: str, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000), 16000)
    table = tmp_path / f"out.{suffix}"
    assert main(["batch", str(tmp_path), "--output", str(table)]) == 0
    lines = table.read_text().splitlines()
    if edit == "column":
        lines = [
            f"{line},mine" if suffix == "csv" else line[:-1] + ', "mine": 1}' for line in lines
        ]
    elif edit == "row":
        lines[1] = "something else"
    elif edit == "blank line":
        lines.insert(2, "")
    end = "\r\n" if edit == "line ends" else "\n"
    table.write_text(end.join([*lines, ""]), newline="")
    before = table.read_bytes()
    status = main(["batch", str(tmp_path), "--output", str(table), "--resume"])
    if status == 0:  # nothing that a reader of the format would miss
        assert edit in ("line ends", "blank line")
        assert table.read_bytes() == before
    else:
        assert "was the table edited" in capsys.readouterr().err
        assert table.read_bytes() == before


def test_a_description_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    mine = tmp_path / "out.csv.json"
    mine.write_text("my own notes")
    for again in ([], ["--resume"]):
        arguments = ["batch", str(tmp_path / "a.wav"), "--output", str(tmp_path / "out.csv")]
        assert main([*arguments, *again]) == 1
        assert mine.read_text() == "my own notes"
    assert "out.csv" in capsys.readouterr().err


@pytest.mark.posix
def test_links_pipes_and_hidden_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    for place in (folder, other, folder / ".hidden"):
        place.mkdir()
        soundfile.write(place / "a.wav", np.zeros(16000), 16000)
    (folder / "linked").symlink_to(other)
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.wav")
    table = tmp_path / "out.jsonl"
    assert main(["batch", str(folder), "--output", str(table)]) == 0
    paths = [json.loads(line)["path"] for line in table.read_text().splitlines()]
    assert paths == [str(folder / "a.wav"), str(folder / "linked" / "a.wav")]
    assert "1 that are no regular files" in capsys.readouterr().out
