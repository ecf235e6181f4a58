"""Pipes become files, within bounds; and names that cannot be read get a hint."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
import soundfile

from voxmood.audio import pipes
from voxmood.audio.hints import missing_file_hint
from voxmood.audio.pipes import seekable
from voxmood.errors import AudioError


def through_a_pipe(content: bytes, folder: Path) -> BinaryIO:
    reading, writing = os.pipe()
    return fed(content, writing, os.fdopen(reading, "rb"))


def through_a_fifo(content: bytes, folder: Path) -> BinaryIO:
    os.mkfifo(folder / "fifo")
    writing = os.open(folder / "fifo", os.O_RDWR)  # which does not wait for a reader
    return fed(content, writing, (folder / "fifo").open("rb", buffering=0))


def fed(content: bytes, writing: int, file: BinaryIO) -> BinaryIO:
    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=feed, daemon=True).start()
    return file


class Drip(io.RawIOBase):
    """A file object that gives a few bytes at a time, however many are asked for."""

    def __init__(self, content: bytes) -> None:
        self.rest = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self.rest.read(min(size, 7))


@pytest.mark.posix
@pytest.mark.parametrize(
    "make", [through_a_pipe, through_a_fifo, lambda content, folder: Drip(content)]
)
@pytest.mark.parametrize("memory", [pipes.MEMORY_BYTES, 1000])
def test_a_pipe_decodes_as_its_file(
    make: Callable[[bytes, Path], BinaryIO],
    memory: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipes, "MEMORY_BYTES", memory)
    path = tmp_path / "clip.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, 20000), 16000)
    with make(path.read_bytes(), tmp_path) as pipe, seekable(pipe, "pipe") as copy:
        assert copy.seekable()
        assert copy.read() == path.read_bytes()
        copy.seek(0)
        assert np.array_equal(soundfile.read(copy)[0], soundfile.read(path)[0])


def test_more_than_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_PIPE_BYTES", 1000)
    assert seekable(io.BytesIO(bytes(1000)), "pipe").read() == bytes(1000)
    with pytest.raises(AudioError, match=r"^pipe: has more than 1000 bytes"):
        seekable(io.BytesIO(bytes(1001)), "pipe")


@pytest.mark.linux
def test_memory_does_not_grow_with_what_comes() -> None:
    code = """
        import re, sys
        from voxmood.audio.pipes import seekable

        class Endless:
            left = 200 << 20
            def read(self, size):
                size = min(size, self.left)
                self.left -= size
                return bytes(size)

        def memory():
            return int(re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[0]) / 1024

        before = memory()
        seekable(Endless(), "pipe")
        print(memory() - before)
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert float(finished.stdout) < 40  # MB, of 200


def test_what_the_system_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(AudioError, match=r"^pipe: cannot be read or stored \(Input/output error\)"):
        seekable(cast(BinaryIO, Broken()), "pipe")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("~/a.wav", f"write {Path.home()}/a.wav."),
        ("~nobody-is-called-so/a.wav", "Only a shell replaces `~` with the home"),
        ("https://host/a.wav", "is a URL; download it first"),
        ("s3://bucket/a.wav", "is a URL; download it first"),
        (str(Path("http://host/a.wav")), "is a URL; download it first"),  # pathlib takes a slash
        ("file:///tmp/a.wav", "write the path alone"),
    ],
)
def test_hints_about_missing_files(name: str, hint: str) -> None:
    assert hint in missing_file_hint(name)


@pytest.mark.parametrize("name", ["a.wav", "a~.wav", "/tmp/a: b.wav", "C:/a.wav", "C:\\a.wav", ""])
def test_names_that_need_no_hint(name: str) -> None:
    assert missing_file_hint(name) == ""
