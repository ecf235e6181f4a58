"""Engines side by side: turns, ratios, tables and failures; what time they take is no test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from voxmood import AudioError
from voxmood.cli import main
from voxmood_bench import engines, environments, rounds
from voxmood_bench.engines import ENGINES, compare, speech, steps
from voxmood_bench.environments import REQUIREMENTS, Worker, environment
from voxmood_bench.errors import BenchmarkError
from voxmood_bench.floor import write_floor
from voxmood_bench.rounds import ratio, take_turns
from voxmood_bench.tables import LIMITS, as_text
from voxmood_export.signals import speech_like


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE", 0.0)


class Fake:
    """Answers with the times it is given; fails when it has no more."""

    def __init__(self, name: str, seconds: list[float], order: list[str]) -> None:
        self.name, self.seconds, self.order = name, list(seconds), order

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert (command, arguments) == ("run", {"audio": "clip.npy"})
        self.order.append(self.name)
        if not self.seconds:
            raise BenchmarkError("out of breath")
        return {"seconds": self.seconds.pop(0), "logits": [0.0, 1.0], "peak_mb": 5.0}


def test_turns_rotate_and_a_failure_is_a_row() -> None:
    order: list[str] = []
    settling = [9.0] * rounds.SETTLING_RUNS
    workers = {
        "a": Fake("a", [*settling, 0.1, 0.2, 0.4], order),
        "b": Fake("b", [*settling, 0.2, 0.2, 0.2], order),
        "c": Fake("c", [*settling, 0.3], order),
    }
    rows = take_turns(workers, "clip.npy", 3)
    assert "".join(order[3 * rounds.SETTLING_RUNS :]) == "abc" + "bca" + "ab"
    assert rows["a"].milliseconds == pytest.approx([100, 200, 400])
    assert rows["c"].error == "out of breath"
    assert ratio(rows["a"], rows["b"]) == pytest.approx(1.0)  # within rounds: 0.5, 1, 2
    assert rows["a"].spread == pytest.approx(150)


class FakeWorker:
    """Stands for a process: every engine takes 10 ms, but for some that cannot be run."""

    def __init__(self, python: str | None, log: Path) -> None:
        self.name = log.stem

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        if command == "load":
            if self.name == "PyTorch bfloat16":
                raise BenchmarkError("RuntimeError: no bfloat16 here")
            assert arguments["threads"] == 2
            return {"versions": {"engine": "1.0"}}
        seconds = len(np.load(arguments["audio"])) / 16000
        if self.name == "stock ONNX Runtime fp32":
            raise BenchmarkError("its process ended with status -9.")
        return {"seconds": 0.01 * seconds, "logits": [0.5, 0.25], "peak_mb": 100.0}

    def close(self) -> None:
        pass


def test_report_and_tables(
    bundle: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "Worker", FakeWorker)
    monkeypatch.setattr(engines, "environment", lambda name, folder: name)
    monkeypatch.setattr(engines, "converted", lambda *_, **__: tmp_path / "model.onnx")
    called: list[str] = []
    report = compare(
        str(checkpoint),
        bundle,
        audio=None,
        seconds=1.0,
        lengths=[2.0],
        threads=2,
        rounds=4,
        cache=tmp_path / "cache",
        progress=called.append,
    )
    assert len(called) == steps(list(ENGINES), 4, [2.0])
    report = json.loads(json.dumps(report))
    assert report["version"] == 1
    assert {"machine", "threads", "date", "audio", "engines", "comparisons"} <= report.keys()
    assert list(report["engines"]) == list(ENGINES)
    assert report["engines"]["voxmood int8"]["milliseconds"] == [10.0] * 4
    assert report["engines"]["voxmood int8"]["versions"] == {"engine": "1.0"}
    assert report["engines"]["voxmood int8"]["max_logit_difference"] == 0.0
    assert str(tmp_path) not in json.dumps(report)
    failed = {"PyTorch bfloat16", "stock ONNX Runtime fp32"}
    assert {name for name, row in report["engines"].items() if row["error"]} == failed
    compared = {(row["ours"], row["theirs"]): row for row in report["comparisons"]}
    assert compared.keys() >= {pair for pair in LIMITS if not failed & set(pair)}
    assert not any(failed & set(pair) for pair in compared)
    assert compared["voxmood int8", "PyTorch float32"]["met"] is False
    assert compared["voxmood int8", "int8 products alone"]["met"] is True
    longer = compared["voxmood int8, a second in a pass of 2 s", "of 1 s"]
    assert longer["ratio"] == pytest.approx(1.0)

    lines = as_text(report).splitlines()
    (lost,) = [line for line in lines if line.startswith("PyTorch float32")]
    assert lost.split()[2:7] == ["10.0", "0.0", "1.000", "0.17", "no"]
    (broken,) = [line for line in lines if line.startswith("PyTorch bfloat16")]
    assert broken.endswith("failed: RuntimeError: no bfloat16 here")


def test_our_own_engines_in_processes_of_their_own(bundle: Path, tmp_path: Path) -> None:
    audio = tmp_path / "clip.npy"
    np.save(audio, speech_like(1.0, 16000, 0))
    options = {"precision": "fp32"}
    with Worker(None, tmp_path / "log") as worker:
        with pytest.raises(BenchmarkError, match="nothing is loaded"):
            worker.ask("run", audio=str(audio))
        with pytest.raises(BenchmarkError, match=r"MissingFileError.*no such bundle"):
            worker.ask("load", kind="voxmood", model="gone", threads=1, options=options)
        answer = worker.ask("load", kind="voxmood", model=str(bundle), threads=1, options=options)
        assert answer["versions"]["onnxruntime"] == onnxruntime.__version__
        answer = worker.ask("run", audio=str(audio))
        assert answer["seconds"] > 0
        assert answer["peak_mb"] > 10
        assert len(answer["logits"]) == 4


def test_a_worker_that_dies_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "peer.py"
    script.write_text("import sys; sys.stdin.readline(); sys.exit(7)")
    monkeypatch.setattr(environments, "PEER", script)
    with (
        Worker(sys.executable, tmp_path / "log") as worker,
        pytest.raises(BenchmarkError, match="status 7"),
    ):
        worker.ask("run", audio="clip.npy")


def test_floor_holds_every_int8_product(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_floor(bundle, path, speech_like(1.0, 16000, 0), threads=1)
    session = onnxruntime.InferenceSession(str(path))
    feeds = {entry.name: np.zeros(entry.shape, np.uint8) for entry in session.get_inputs()}
    results = session.run(None, feeds)
    assert len(results) == 6 + 1 + 1 + 6 * 3  # as tests/export/test_quantize.py counts them
    assert {result.shape[-1] for result in results} >= {32, 64, 128}


def test_environment_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.sys, "executable", "false")
    with pytest.raises(BenchmarkError, match="venv"):
        environment("pytorch", tmp_path)


def test_speech_joins_recordings(tmp_path: Path) -> None:
    import soundfile

    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", speech_like(1.0, 16000, index), 16000)
    (tmp_path / "notes.txt").write_text("no recording")
    assert len(speech(tmp_path, 16000, 2.5)) == 40000
    assert len(speech(tmp_path / "0.wav", 16000, 2.5)) == 40000  # repeated
    assert len(speech(None, 16000, 1.0)) == 16000
    with pytest.raises(AudioError):
        speech(tmp_path / "notes.txt", 16000, 1.0)


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--threads", "0"], ["--lengths", "-1"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "engines", "checkpoint", "bundle", *arguments])
    assert caught.value.code == 2


@pytest.mark.slow
def test_every_engine_for_real(bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert set(REQUIREMENTS) == {engine.environment for engine in ENGINES.values()} - {None}
    report = compare(
        str(checkpoint),
        bundle,
        audio=None,
        seconds=1.0,
        lengths=[],
        threads=1,
        rounds=2,
        cache=tmp_path,
    )
    assert [row["error"] for row in report["engines"].values()] == [None] * len(ENGINES)
    for name in ("voxmood fp32", "stock ONNX Runtime fp32"):
        assert report["engines"][name]["max_logit_difference"] < 1e-4
