"""Manifests that come through pipes and standard input, each of which can be read only once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from variations import first_of

HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"
MODELS = "compare voxmood-small@fp32 voxmood-small@int8 --manifest"
COMMANDS = {
    "compare": f"{MODELS} MANIFEST",
    "batch": "batch MANIFEST --output table.csv",
    "compare --audio": f"{MODELS} MANIFEST --audio . --junit report.xml --markdown report.md",
    "batch --resume": "batch MANIFEST --output table.jsonl --resume",
}
STREAMS = {
    "a substitution": "voxmood COMMAND",
    "- of a pipe": "cat list.csv | voxmood COMMAND",
    "-": "voxmood COMMAND < list.csv",
    "/dev/stdin": "voxmood COMMAND < list.csv",
    "/dev/stdin of a pipe": "cat list.csv | voxmood COMMAND",
    "a FIFO": "mkfifo fifo; cat list.csv > fifo & voxmood COMMAND",
}
NAMES = {"a substitution": "<(cat list.csv)", "a FIFO": "fifo"}


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = f"voxmood() {{ '{sys.executable}' -m voxmood \"$@\"; }}; {script}"
    return subprocess.run(
        ["bash", "-c", program],
        cwd=folder,
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(HELLO, tmp_path)
    (tmp_path / "list.csv").write_text(f"path,speaker\n{HELLO.name},w7\n")
    return tmp_path


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize("command", first_of(COMMANDS, 2))
@pytest.mark.parametrize("stream", first_of(STREAMS, 2))
def test_paths_are_relative_to_the_current_folder(folder: Path, command: str, stream: str) -> None:
    name = NAMES.get(stream, stream.partition(" ")[0])
    script = STREAMS[stream].replace("COMMAND", COMMANDS[command].replace("MANIFEST", name))
    done = run(script, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 recordings" in done.stdout
    if command == "batch":
        assert (folder / "table.csv").read_text().splitlines()[1].startswith(HELLO.name)


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize("command", ["compare", "batch"])
@pytest.mark.parametrize(
    "wrong",
    first_of(
        [
            ("", "has no column `path`"),
            ("name\na.wav", "has no column `path`"),
            ("path\n", "lists no recordings"),
            ("\\xff\\xfe\\x80", "is not a CSV file in UTF-8"),
        ]
    ),
)
def test_what_is_no_manifest(folder: Path, command: str, wrong: tuple[str, str]) -> None:
    content, message = wrong
    arguments = COMMANDS[command].replace("MANIFEST", "-")
    done = run(f"printf '{content}' | voxmood {arguments}", folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"voxmood: -: {message}")
    assert not (folder / "table.csv").exists()
