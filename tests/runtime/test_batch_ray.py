"""Batches on Ray, and with recordings and rows on S3: moto's server, and Arrow's own client.

Run by `pytest -m ray`, in an environment with the extras cpu and ray, and with moto[server].
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxmood.cli import main

pytestmark = pytest.mark.ray


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 0.2 to 40 s, named as few are, and two that cannot be read."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 640000)
    for index in range(40):
        length = 640000 if index == 7 else 3200 + 400 * index
        name = f"ä b#%20&+?{index}.{'wav' if index % 2 else 'flac'}"
        soundfile.write(folder / name, noise[:length], 16000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no audio")
    return folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket on a server of this test."""
    boto3 = pytest.importorskip("boto3", reason="moto[server] is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    thread = server.ThreadedMotoServer("127.0.0.1", 0)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*thread.get_host_and_port()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket = boto3.resource("s3", region_name="us-east-1").Bucket("archive")
    bucket.create()
    yield bucket
    thread.stop()


def batch(*arguments: object) -> int:
    return main(["batch", *map(str, arguments)])


def rows(output: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each recording, of Parquet or JSON lines."""
    from pyarrow import json, parquet

    read = json.read_json if output.suffix == ".jsonl" else parquet.read_table
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read(output).to_pylist():
        found.setdefault(row["path"], []).append(row)
    return found


def test_segments_are_those_of_the_local_engine(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--timeline", "--window", "2", "--hop", "1")
    monkeypatch.chdir(folder)  # names that are relative, in processes that are elsewhere
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,speaker\nrecordings/not there.wav,hap,w7\n")
    (folder / "notes.txt").touch()
    local, ray = tmp_path / "labels.jsonl", tmp_path / "labels"
    assert batch(".", manifest, "--output", local, "--threads", 1, *options) == 1
    assert batch(".", manifest, "--output", ray, "--engine", "ray", *options) == 1
    assert rows(ray) == rows(local)
    assert len(rows(ray)) == 43
    [row] = rows(ray)[f"{tmp_path}/recordings/not there.wav"]
    assert (row["manifest_label"], row["speaker"]) == ("hap", "w7")
    assert "manifest.csv, line 2: recordings/not there.wav]" in row["error"]
    text = capsys.readouterr().out
    assert text.count("1 file was skipped because of its suffix: 1 .txt.") == 2


@pytest.mark.parametrize("channel", ["mix", "each"])
def test_given_stretches_are_those_of_the_local_engine(
    channel: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of stretches that cannot be labeled, recordings that are whole or damaged, and names."""
    stereo = np.random.default_rng(1).uniform(-0.3, 0.3, (48000, 2))
    soundfile.write(folder / "call.wav", stereo, 16000)
    lines = ["path,start,end,speaker,label,channel"]
    lines += [f"call.wav,{start},{start + 0.75},Zoë {start},hap," for start in (1, 0, 2.1)]
    lines += ["call.wav,2.5,9,late,,", "call.wav,0.5,1.5,one,,2", "text.wav,0,1,,,"]
    lines += ["ä b#%20&+?3.wav,,,whole,sad,", "gone.wav,0,1,,,"]
    manifest = folder / "list.csv"
    manifest.write_text("\n".join(lines), "utf-8")
    monkeypatch.chdir(tmp_path)
    local, ray = tmp_path / "labels.jsonl", tmp_path / "labels"
    options = ("--channel", channel)
    assert batch(manifest, "--output", local, "--threads", 1, *options) == 1
    assert batch(manifest, "--output", ray, "--engine", "ray", *options) == 1
    found = rows(ray)
    assert found == rows(local)
    call = found[f"{folder}/call.wav"]
    assert len(call) == (5 if channel == "mix" else 9)
    assert {row["speaker"] for row in call if row["error"]} == {"late"}
    assert batch(manifest, "--output", ray, "--engine", "ray", *options, "--resume") == 1
    assert rows(ray) == found


def test_s3(folder: Path, tmp_path: Path, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.iterdir():
        bucket.upload_file(str(path), f"a folder/{path.name}")
    bucket.upload_file(str(folder / "text.wav"), "a folder/notes.txt")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path\ns3://archive/gone.wav\n")
    output = ("--output", "s3://archive/labels", "--engine", "ray")
    assert batch("s3://archive/a folder", manifest, *output) == 1
    assert "43 recordings, 3 of them with an error" in capsys.readouterr().out

    downloaded = tmp_path / "labels"
    downloaded.mkdir()
    for file in bucket.objects.filter(Prefix="labels/0"):
        bucket.download_file(file.key, str(downloaded / Path(file.key).name))
    local = tmp_path / "labels.jsonl"
    batch(folder, "--output", local, "--threads", 1)
    found = rows(downloaded)
    assert "cannot be read" in found.pop("s3://archive/gone.wav")[0]["error"]
    for name, [row] in rows(local).items():
        there = f"s3://archive/a folder/{Path(name).name}"
        row["error"] = row["error"] and row["error"].replace(name, there)
        assert found.pop(there) == [row | {"path": there}]
    assert not found

    assert batch("s3://archive/a folder", *output) == 1
    assert "--resume continues it" in capsys.readouterr().err
    assert batch("s3://archive/a folder", manifest, *output, "--resume") == 1
    assert "43 recordings, 3 of them with an error" in capsys.readouterr().out


def test_a_worker_is_killed(folder: Path, tmp_path: Path) -> None:
    sources = many(folder, tmp_path, 1500)
    output = tmp_path / "labels"
    process = start(sources, output)
    seen = Counter[int]()
    killed = set[int]()
    while process.poll() is None and len(killed) < 2:
        for worker in at_work(sources):
            seen[worker] += 1
            if seen[worker] == 10:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        time.sleep(0.1)
    assert len(killed) == 2
    assert process.wait() == 0
    assert sorted(map(len, rows(output).values())) == [1] * 1500


def test_killed_and_resumed(folder: Path, tmp_path: Path) -> None:
    sources = many(folder, tmp_path, 1500)
    output = tmp_path / "labels"
    process = start(sources, output)
    while not list(output.glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (output / "cut.parquet").write_bytes(b"PAR1 half a file")
    assert batch(sources, "--output", output, "--engine", "ray", "--resume") == 0
    assert sorted(map(len, rows(output).values())) == [1] * 1500


def many(folder: Path, tmp_path: Path, count: int) -> Path:
    sources = tmp_path / "many"
    sources.mkdir()
    paths = [path for path in folder.iterdir() if path.stat().st_size > 1000]
    for index in range(count):
        (sources / f"{index}.wav").symlink_to(paths[index % len(paths)])
    return sources


def start(sources: Path, output: Path) -> subprocess.Popen[bytes]:
    command = ["-m", "voxmood", "batch", str(sources), "--output", str(output), "--engine", "ray"]
    return subprocess.Popen([sys.executable, *command], env=os.environ | {"OURS": str(sources)})


def at_work(sources: Path) -> Iterator[int]:
    """Yield the processes of those actors of our run that are labeling."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()  # ends with the method that it runs
            if re.match(rb"ray::MapWorker\(.*\.submit", title) and (
                f"OURS={sources}\0".encode() in (process / "environ").read_bytes()
            ):
                yield int(process.name)
        except OSError:  # it has ended
            continue


def test_a_name_that_parquet_cannot_hold(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / os.fsdecode(b"latin-\xe9.wav")).symlink_to(folder / "text.wav")
    output = tmp_path / "labels"
    output.mkdir()
    (output / "_voxmood.json").write_text("{}")  # the output is that of an earlier batch
    (output / "old.parquet").write_bytes(b"PAR1")
    assert batch(tmp_path, "--output", output, "--engine", "ray", "--force") == 1
    assert "its name is not UTF-8" in capfd.readouterr().err
    assert (output / "old.parquet").read_bytes() == b"PAR1"


def test_what_is_out_of_reach(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ray = ("--output", tmp_path / "labels", "--engine", "ray")
    assert batch(folder, *ray, "--address", "127.0.0.1:9") == 1
    assert "127.0.0.1:9: no Ray cluster answers" in capsys.readouterr().err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert batch("s3://archive/a", *ray) == 1
    error = capsys.readouterr().err
    assert "s3://archive/a: cannot be reached" in error
    assert "AWS_ACCESS_KEY_ID" in error


@pytest.mark.parametrize("again", [[], ["--force"], ["--resume"]])
def test_tables_of_others_are_left_alone(
    folder: Path, tmp_path: Path, again: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow
    from pyarrow import parquet

    other = tmp_path / "out" / "mine.parquet"
    other.parent.mkdir()
    parquet.write_table(pyarrow.table({"a": [1]}), other)
    before = other.read_bytes()
    assert batch(folder, "--output", other.parent, "--engine", "ray", *again) == 1
    assert "holds Parquet files that no batch wrote" in capsys.readouterr().err
    assert other.read_bytes() == before
