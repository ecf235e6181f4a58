"""Batches on one machine: the rows, going on after a stop, and what bad input gets."""

from __future__ import annotations

import csv
import json
import os
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

import voxmood
from voxmood.batch import Listing
from voxmood.cli import main
from voxmood.rows import Entry

# A comma, a quote, line breaks of every kind, what is no UTF-8, and what a glob would take.
NAMES = ['a, "b".wav', "line\nbreak\r.wav", os.fsdecode(b"latin-\xe9.wav"), "z[1].wav", "ü.flac"]
HOP = ("--window", "0.5", "--hop", "0.25")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 0.3 to 1.5 s, and two that cannot be read."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 32000)
    for index, name in enumerate(NAMES):
        with (folder / name).open("wb") as file:
            form = name.rpartition(".")[2]
            soundfile.write(file, noise[: 4800 * (index + 1)], 16000, format=form)
    (folder / "empty.wav").touch()
    (folder / "gone.ogg").symlink_to("nowhere")
    return folder


def batch(*arguments: object) -> int:
    return main(["batch", *map(str, arguments)])


def read(output: Path) -> list[dict[str, Any]]:
    """The rows of a table, CSV in the form of JSON."""
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    labels = voxmood.load().labels
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
            row["probabilities"] = {key: round(p, 6) for key, p in said.probabilities.items()}
        except voxmood.VoxmoodError as error:
            row["error"] = str(error)
        expected.append(row)
    assert read(output) == expected
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


@pytest.mark.parametrize("options", [(), ("--timeline", *HOP)])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_resumed_from_wherever_it_was_stopped(
    folder: Path, tmp_path: Path, suffix: str, options: tuple[str, ...]
) -> None:
    output = tmp_path / f"labels{suffix}"
    assert batch(folder, "--output", output, *options) == 1
    whole = output.read_bytes()
    for size in [10, *range(0, len(whole), len(whole) // 15), len(whole) - 1, len(whole)]:
        output.write_bytes(whole[:size])
        assert batch(folder, "--output", output, "--resume", *options) == 1
        assert output.read_bytes() == whole, size


def test_killed_and_resumed(folder: Path, tmp_path: Path) -> None:
    sources = tmp_path / "many"
    sources.mkdir()
    for index in range(400):
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
    assert "--resume goes on" in errors
    assert 0 < len(read(output)) < 400
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
        (["s3://archive/a", "--output", "{0}/new.csv"], "only --engine ray"),
        (["{0}/*.wma", "--output", "{0}/new.csv"], "no glob of any"),
        (["{0}/none", "--output", "{0}/new.csv"], "holds no recordings"),
        (["{0}/recordings", "{0}/recordings/ü.flac", "--output", "{0}/new.csv"], "given twice"),
        (["{0}/recordings", "--output", "{0}/new.parquet"], "takes --engine ray"),
        (["{0}/recordings", "--output", "{0}/no/new.csv"], "cannot be written"),
        (["{0}/recordings", "--output", "{0}/old.csv"], "--resume goes on with it, --force"),
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
    (tmp_path / "old.csv").write_text("mine\n")
    assert batch(*(argument.format(tmp_path) for argument in arguments)) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "old.csv").read_text() == "mine\n"
    assert not (tmp_path / "new.csv").exists()


def test_another_model_is_not_mixed_in(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "labels.csv"
    bundle = Path(__file__).parents[2] / "models" / "voxmood-tiny" / "bundle"
    batch(folder, "--output", output)
    rows = output.read_bytes()
    for other in (("--model", f"{bundle}@fp32"), ("--timeline",)):
        assert batch(folder, "--output", output, "--resume", *other) == 1
        assert "was not made with the model, precision, windows" in capsys.readouterr().err
        assert output.read_bytes() == rows
    assert batch(folder, "--output", output, "--force", "--timeline") == 1
    assert "start" in read(output)[0]


def test_a_long_listing_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        listing = Listing(Entry(f"archive/{index:060}.wav") for index in range(100_000))
        assert listing.discard(f"archive/{7:060}.wav")
        assert sum(1 for _ in listing) == len(listing) == 99_999
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # the paths alone are 7 MB
