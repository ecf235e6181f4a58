"""What Windows and macOS have otherwise, shown here: modules, code pages, open files, names.

Commands run in processes in which what Windows lacks is blocked, whose console is cp1252, and in
which opening a text file without naming its encoding is an error.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import ntpath
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from variations import first_of

import voxmood
from voxmood import AudioError, MissingFileError, OutputError, cli
from voxmood.archive.rows import Labeler
from voxmood.archive.table import TableFile
from voxmood.audio.hints import is_url, missing_file_hint
from voxmood.commands.terminal import console
from voxmood.files import check_outputs

HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"

WINDOWS = """
import os, runpy, signal, sys, warnings
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in (
    "fork", "forkpty", "getuid", "geteuid", "getgid", "killpg", "mkfifo", "mknod", "posix_spawn",
    "sched_getaffinity", "setsid", "statvfs", "sysconf", "chown", "fchmod", "pread", "getpgid",
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "setitimer", "alarm", "pause"):
    if hasattr(signal, name):
        delattr(signal, name)
warnings.filterwarnings("error", category=EncodingWarning, module="voxmood")
"""


def windows(*arguments: object, folder: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, or other code, in a process that lacks what Windows lacks."""
    code = code or "runpy.run_module('voxmood', run_name='__main__')"
    variables = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    variables |= {"PYTHONIOENCODING": "cp1252:strict"}
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", f"{WINDOWS}\n{code}",
         *map(str, arguments)],
        cwd=folder, env=os.environ | variables, capture_output=True, encoding="cp1252", timeout=120,
        check=False,
    )  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("b.wav", "A.WAV"):
        shutil.copy(HELLO, folder / name)
    (folder / "list.csv").write_bytes(b"path,label\r\nb.wav,neu\r\nA.WAV,neu\r\n")
    return folder


@pytest.mark.parametrize(
    "command",
    first_of(
        [
            "predict b.wav A.WAV",
            "timeline b.wav --csv",
            "batch . --output out/table.csv",
            "batch list.csv --output out.jsonl --timeline",
            "compare voxmood-small@fp32 voxmood-small@int8 --manifest list.csv --junit gate.xml",
            "export --help",
            "predict b.wav --json --low-memory",
            "timeline b.wav --window 2",
            "info",
            "info --json",
            "--help",
            "bench run --help",
        ],
        6,
    ),
)
def test_everyday_commands(recordings: Path, command: str) -> None:
    if "out/" in command:
        (recordings / "out").mkdir()
    done = windows(*command.split(), folder=recordings)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for name in ("out/table.csv", "out.jsonl", "gate.xml"):
        if name in command:
            assert b"\r" not in (recordings / name).read_bytes()


def test_python_code(recordings: Path) -> None:
    code = (
        "import voxmood, numpy\n"
        "model = voxmood.load()\n"
        "print(model.predict('b.wav').label, model.predict(open('A.WAV', 'rb')).label)\n"
        "print(model.predict(numpy.ones(16000), sampling_rate=16000).warnings)\n"
        "print(len(list(voxmood.Stream(model, 16000).push(numpy.zeros(160000)))))\n"
    )
    done = windows(folder=recordings, code=code)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "neu neu"


@pytest.mark.thorough
def test_an_export(checkpoint: Path, tmp_path: Path) -> None:
    """The packages of the export need what is blocked, so only the encodings are checked."""
    code = "\n".join(line for line in WINDOWS.splitlines() if "warn" in line) + (
        "\nimport runpy, sys\n"
        f"sys.argv = ['voxmood', 'export', {str(checkpoint)!r}, 'bundle', '--precisions', 'fp32']\n"
        "runpy.run_module('voxmood', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", code],
        cwd=tmp_path, env=os.environ | {"PYTHONUTF8": "0", "LC_ALL": "C"}, capture_output=True,
        encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"\r" not in (tmp_path / "bundle" / "bundle.json").read_bytes()


def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_libsndfile_gets_no_descriptor_on_windows(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, 40000), 16000)
    model = voxmood.load()
    expected = model.predict(path)
    opened: list[Any] = []
    open_sound = soundfile.SoundFile.__init__

    def note(self: Any, file: Any, *arguments: Any, **options: Any) -> None:
        opened.append(file)
        open_sound(self, file, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", note)
    on_windows(monkeypatch)
    found = model.predict(path)
    assert opened
    assert not any(isinstance(file, (int, str)) for file in opened)
    assert (found.logits.tobytes(), found.warnings) == (
        expected.logits.tobytes(),
        expected.warnings,
    )


def test_a_folder_is_named_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows says of a folder what it says of a file that may not be read."""
    open_file = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return open_file(self, *arguments, **options)

    model = voxmood.load()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match="is a folder; name the recordings in it"):
        model.predict(tmp_path)


def test_a_reader_that_has_seen_enough_on_windows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main([]) == 1
    assert "Invalid argument" in capsys.readouterr().err
    on_windows(monkeypatch)
    assert cli.main([]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_console", [True, False])
def test_a_console_of_windows_keeps_its_stream(
    is_console: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are written to its descriptor would be read in another code page."""
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(stream, "isatty", lambda: is_console, raising=False)
        on_windows(monkeypatch)
        monkeypatch.setattr(sys, "stdout", stream)
        with console.quiet_libraries():
            assert (sys.stdout is stream) == is_console
            print("Δ█")
    assert (tmp_path / "out").read_text("utf-8") == "Δ█\n"


@pytest.mark.parametrize("errors", ["surrogateescape", "surrogatepass"])
def test_names_that_are_no_unicode(
    errors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows any surrogate may be in a name, and here those of bytes that are not UTF-8."""
    monkeypatch.setattr("voxmood.archive.table.SURROGATES", errors)
    name = {"surrogatepass": "a\ud83d.wav", "surrogateescape": "a\udce9.wav"}[errors]
    labeler = Labeler(voxmood.load(), None, ())
    for suffix in ("csv", "jsonl"):
        path = tmp_path / f"table.{suffix}"
        row = dict.fromkeys(labeler.fields) | {"path": name, "error": "is a test"}
        with TableFile(path, labeler.fields, labeler.labels) as table:
            table.begin(labeler.description)
            table.write([row])
        with TableFile(path, labeler.fields, labeler.labels) as table:
            assert list(table.resume(labeler.description)) == [(name, "is a test")]


def test_two_outputs_whose_names_differ_in_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [tmp_path / "Gate.xml", tmp_path / "gate.XML"]
    check_outputs(outputs, [])
    monkeypatch.setattr(os.path, "normcase", ntpath.normcase)
    with pytest.raises(OutputError, match="is named for two outputs"):
        check_outputs(outputs, [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/a.wav", True),
        ("https://host/a.wav", True),
        ("C://folder/a.wav", False),
        ("c:/folder/a.wav", False),
        ("C:\\folder\\a.wav", False),
        ("\\\\?\\C:\\folder\\a.wav", False),
        ("\\\\server\\share\\a.wav", False),
        ("folder/a://b.wav", False),
    ],
)
def test_a_drive_is_no_url(name: str, expected: bool) -> None:
    assert is_url(name) == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("folder\\a.wav", "write folder/a.wav"),
        (".\\a b.wav", "write a b.wav"),
        ("*.wav", "voxmood batch"),
        ("folder/?.wav", "voxmood batch"),
    ],
)
def test_hints(name: str, hint: str) -> None:
    assert hint in missing_file_hint(name)
    with pytest.raises(MissingFileError, match="no such file"):
        voxmood.load().predict(name)


def test_a_manifest_of_windows(recordings: Path) -> None:
    """CR LF at the ends of lines, and a byte-order mark, as spreadsheets write."""
    content = (recordings / "list.csv").read_bytes()
    (recordings / "list.csv").write_bytes(b"\xef\xbb\xbf" + content)
    output = recordings / "out.csv"
    assert cli.main(["batch", str(recordings / "list.csv"), "--output", str(output)]) == 0
    rows = list(csv.DictReader(io.StringIO(output.read_text("utf-8"))))
    assert [(row["label"], row["manifest_label"]) for row in rows] == [("neu", "neu")] * 2


def test_a_bundle_with_crlf(bundle: Path, tmp_path: Path) -> None:
    """Git can write them when it checks a bundle out."""
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    text = (copy / "bundle.json").read_bytes()
    (copy / "bundle.json").write_bytes(text.replace(b"\n", b"\r\n"))
    assert voxmood.load(copy).bundle == voxmood.load(bundle).bundle
    assert json.loads(text)
