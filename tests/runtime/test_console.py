"""Commands on every console, with names of every kind, pipes, and outputs that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from variations import first_of

HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"
LATIN = os.fsdecode(b"latin-\xe9.wav")
WITHOUT_BLOCKS = ("ascii", "latin-1", "cp1252")


def run(
    *arguments: object,
    encoding: str = "utf-8",
    stdin: bytes | None = None,
    unbuffered: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own, whose console is strict."""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [sys.executable, "-m", "voxmood", *map(str, arguments)],
        env=os.environ
        | {
            "PYTHONIOENCODING": f"{encoding}:strict",
            "PYTHONUNBUFFERED": "1" if unbuffered else "",
        },
        input=stdin,
        timeout=60,
        check=False,
        **(streams | options),
    )
    return done


@pytest.fixture
def names(tmp_path: Path) -> list[Path]:
    """Recordings whose names few encodings have, and one that is not there."""
    paths = [tmp_path / name for name in ("Δ█ ü 😀.wav", LATIN)]
    for path in paths:
        path.symlink_to(HELLO)
    return [*paths, tmp_path / f"gone {LATIN}"]


@pytest.mark.linux
@pytest.mark.parametrize("encoding", first_of(["ascii", "utf-8", "latin-1", "cp1252", "cp437"], 2))
def test_predict_on_every_console(names: list[Path], encoding: str) -> None:
    done = run("predict", *names, encoding=encoding)
    assert done.returncode == 1
    lines = done.stdout.decode(encoding).splitlines()
    assert len(lines) == 10
    assert lines[1].endswith(("#" if encoding in WITHOUT_BLOCKS else "█") * 12)
    assert "latin-\\udce9.wav: unsure, perhaps neu" in lines[5]
    assert done.stderr.decode(encoding).count("\n") == 1
    assert "no such file" in done.stderr.decode(encoding)


@pytest.mark.linux
@pytest.mark.parametrize("encoding", first_of(["ascii", "utf-8", "cp1252"], 2))
def test_json_stays_json_and_says_the_names(names: list[Path], encoding: str) -> None:
    done = run("predict", "--json", *names, encoding=encoding)
    rows = [json.loads(line) for line in done.stdout.decode(encoding).splitlines()]
    assert [row["path"] for row in rows][1:] == [str(path) for path in names][1:]
    if encoding == "utf-8":  # else what stands for our own characters stands for those of names
        assert rows[0]["path"] == str(names[0])


@pytest.mark.parametrize("encoding", first_of(["ascii", "cp1252"]))
@pytest.mark.parametrize(
    "arguments",
    first_of(
        [
            ("timeline", HELLO, "--window", "1"),
            ("export", "--help"),
            ("compare", "voxmood-small@fp32", "voxmood-small@int8", "--audio", HELLO.parent),
            ("timeline", HELLO, "--csv"),
            ("info",),
            ("compare", "--help"),
            ("--help",),
        ],
        3,
    ),
)
def test_commands_on_consoles_that_lack_characters(
    arguments: tuple[object, ...], encoding: str
) -> None:
    done = run(*arguments, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding)


@pytest.mark.linux
def test_a_report_with_a_name_that_no_console_has(names: list[Path], tmp_path: Path) -> None:
    names[2].write_text("no audio")
    models = ("voxmood-small@fp32", "voxmood-small@int8")
    done = run("compare", *models, "--audio", tmp_path, "--max-unreadable", 1, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gone latin-\\udce9.wav" in done.stdout


@pytest.mark.posix
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    "arguments",
    first_of(
        [
            ("predict", HELLO),
            ("--help",),
            ("predict",),
            ("predict", "gone.wav"),
            ("predict", HELLO, "--json"),
            ("timeline", HELLO),
            ("timeline", HELLO, "--csv"),
            ("info", "--json"),
            ("predict", "--help"),
            ("--version",),
        ],
        3,
    ),
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_output_that_cannot_be_written(arguments: tuple[object, ...], unbuffered: bool) -> None:
    status = 2 if arguments == ("predict",) else 1
    with Path("/dev/full").open("wb") as full:
        done = run(*arguments, stdout=full, unbuffered=unbuffered)
        assert done.returncode == status
        if arguments in (("predict", "gone.wav"), ("predict",)):  # there is no output
            assert b"standard output" not in done.stderr
        else:
            assert done.stderr == b"voxmood: standard output: No space left on device.\n"
        assert run(*arguments, stderr=full).returncode in (0, status)
        assert run(*arguments, stderr=full, stdout=full).returncode == status


def test_a_reader_that_has_seen_enough() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("predict", HELLO, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.posix
@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_streams_that_are_closed(closed: str) -> None:
    number = ("stdin", "stdout", "stderr").index(closed)
    done = run("predict", "-", HELLO, preexec_fn=lambda: os.close(number))
    assert done.returncode == 1  # standard input is empty or closed
    assert b"Traceback" not in done.stderr
    assert (b"neu" in done.stdout) == (closed != "stdout")


@pytest.mark.posix
@pytest.mark.parametrize(
    "arguments",
    first_of(
        [
            ("predict", "/dev/stdin", HELLO),
            ("timeline", "-"),
            ("predict", "-"),
            ("predict", HELLO, "-"),
            ("timeline", "/dev/stdin"),
        ],
        2,
    ),
)
def test_a_recording_through_a_pipe(arguments: tuple[object, ...]) -> None:
    done = run(*arguments, "--json", stdin=HELLO.read_bytes())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row["path"] for row in rows] == [str(name) for name in arguments[1:]]
    assert {row["label"] for row in rows} == {"neu"}


@pytest.mark.posix
@pytest.mark.parametrize("name", first_of(["-", "/dev/stdin"]))
@pytest.mark.parametrize(
    "content", first_of([b"", b"no audio", HELLO.read_bytes()[:20], bytes(100_000)], 2)
)
def test_what_is_no_recording_through_a_pipe_ends_nothing(name: str, content: bytes) -> None:
    done = run("predict", name, HELLO, "--json", stdin=content)
    bad, good = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert bad["path"] == name
    assert bad["error"].startswith(f"{name}: ")
    assert bad["label"] is None
    assert good["label"] == "neu"


@pytest.mark.parametrize("name", first_of(["/dev/zero", "/dev/urandom", "/dev/full"]))
def test_devices_without_an_end(name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"the system has no {name}")
    done = run("predict", name, HELLO, "--json")
    bad, good = map(json.loads, done.stdout.splitlines())
    assert bad["error"] == f"{name}: is a device without an end, not a recording."
    assert good["label"] == "neu"


@pytest.mark.posix
@pytest.mark.parametrize("name", first_of(["-", "/dev/stdin"]))
def test_a_plot_of_what_comes_through_a_pipe(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    picture = tmp_path / "timeline.png"
    done = run("timeline", name, "--plot", picture, stdin=HELLO.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert picture.read_bytes().startswith(b"\x89PNG")


NAMES = ("predict", "export", "bench", "batch", "timeline", "listen", "info", "compare")


@pytest.mark.parametrize(
    "arguments", first_of([["--help"], ["--version"], *([name, "--help"] for name in NAMES)], 5)
)
def test_help_without_onnx_runtime(arguments: list[str]) -> None:
    done = without_onnx_runtime(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


@pytest.mark.parametrize(
    "arguments",
    first_of(
        [
            ["predict", str(HELLO)],
            ["batch", str(HELLO), "--output", "out.csv"],
            ["timeline", str(HELLO)],
            ["info"],
            ["compare", "a", "b", "--audio", "c"],
        ],
        2,
    ),
)
def test_commands_without_onnx_runtime(arguments: list[str], tmp_path: Path) -> None:
    done = without_onnx_runtime(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    for extra in (b"voxmood[cpu]", b"voxmood[gpu]", b"voxmood[openvino]"):
        assert extra in done.stderr
    assert not list(tmp_path.iterdir())


def without_onnx_runtime(
    *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    code = (
        "import runpy, sys\n"
        "sys.modules['onnxruntime'] = None\n"
        f"sys.argv = ['voxmood', *{arguments!r}]\n"
        "runpy.run_module('voxmood', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False, cwd=cwd
    )


def sample_dump(tmp_path: Path) -> Path:
    """Return a file of which libsndfile prints on standard output that it is damaged."""
    path = tmp_path / "a.sds"
    soundfile.write(path, np.zeros(16000), 16000, format="SDS", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21 + 127 * 3 + 4] ^= 0x7F
    content[21 + 127 * 5 : 21 + 127 * 5 + 2] = b"\0\0"
    path.write_bytes(content)
    return path


def damaged_mp3(tmp_path: Path) -> Path:
    """Return a file of which mpg123 prints on standard error that it is damaged."""
    path = tmp_path / "a.mp3"
    random = np.random.default_rng(1)
    soundfile.write(path, random.normal(0, 0.1, 64000), 16000)
    content = bytearray(path.read_bytes())
    for _ in range(40):
        content[int(random.integers(1000, len(content)))] = int(random.integers(256))
    path.write_bytes(content)
    return path


def test_a_decoder_alone_prints(tmp_path: Path) -> None:
    path = damaged_mp3(tmp_path)
    decoding = "import voxmood.audio, sys; list(voxmood.audio.AudioReader(sys.argv[1], rate=16000))"
    alone = subprocess.run([sys.executable, "-c", decoding, path], capture_output=True, check=False)
    assert b"mpg123" in alone.stderr


@pytest.mark.parametrize("command", first_of(["predict", "batch", "timeline", "compare"], 2))
@pytest.mark.parametrize("make", [damaged_mp3, sample_dump])
def test_decoders_print_nothing(tmp_path: Path, command: str, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    options: dict[str, list[object]] = {
        "predict": ["--json", path, HELLO],
        "timeline": ["--json", path],
        "batch": [path, "--output", tmp_path / "out.csv"],
        "compare": ["voxmood-small@fp32", "voxmood-small@int8", "--audio", tmp_path, "--json"],
    }
    done = run(command, *options[command])
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith(("voxmood: ", "\r", " ")) or "%" in line for line in lines), lines
    assert b"Error" not in done.stdout
    if command == "compare":
        json.loads(done.stdout)
    elif command != "batch":
        for line in done.stdout.splitlines():
            json.loads(line)
