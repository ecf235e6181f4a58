"""Processes and environments of engines."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from voxmood_bench import environments
from voxmood_bench.environments import Worker, environment, installed_bytes, required_bytes
from voxmood_bench.errors import BenchmarkError
from voxmood_bench.floor import write_floor
from voxmood_export.signals import speech_like


def test_our_own_engines_in_processes_of_their_own(bundle: Path, tmp_path: Path) -> None:
    audio = tmp_path / "clip.npy"
    np.save(audio, speech_like(1.0, 16000, 0))
    options = {"precision": "fp32", "provider": "cpu"}
    once = {"least_seconds": 0.0, "most_runs": 1}
    with Worker(None, tmp_path / "log") as worker:
        with pytest.raises(BenchmarkError, match="nothing is loaded"):
            worker.ask("run", audio=str(audio), **once)
        with pytest.raises(BenchmarkError, match=r"MissingFileError.*no such bundle"):
            worker.ask("load", kind="voxmood", model="gone", threads=1, options=options)
        answer = worker.ask("load", kind="voxmood", model=str(bundle), threads=1, options=options)
        assert answer["versions"]["onnxruntime"] == onnxruntime.__version__
        assert answer["import_s"] >= 0
        assert answer["load_s"] > 0
        answer = worker.ask("run", audio=str(audio), **once)
        assert len(answer["seconds"]) == 1
        assert len(answer["logits"]) == 4
        assert answer["others"] >= 0
        assert (
            len(worker.ask("run", audio=str(audio), least_seconds=60, most_runs=3)["seconds"]) == 3
        )
        assert (
            len(worker.ask("run", audio=str(audio), least_seconds=1e-9, most_runs=9)["seconds"])
            == 1
        )
        memory = worker.ask("memory")
        assert 10 < memory["private_mb"] < memory["peak_resident_mb"]


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
    nodes = onnx.load(bundle / "model.int8.onnx", load_external_data=False).graph.node
    assert len(results) == sum(node.op_type == "MatMulIntegerToFloat" for node in nodes)
    assert {result.shape[-1] for result in results} >= {32, 64, 128}


def test_environment_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(BenchmarkError, match="venv"):
        environment("pytorch", tmp_path)


def test_installed_size_leaves_the_installer_out(tmp_path: Path) -> None:
    packages = tmp_path / "environments" / "pytorch" / "lib"
    for name, size in (("torch", 500), ("pip", 70), ("numpy", 30)):
        (packages / name).mkdir(parents=True)
        (packages / name / "core.so").write_bytes(bytes(size))
    assert installed_bytes("pytorch", tmp_path) == 530


def test_required_size_counts_what_packages_require() -> None:
    def own(name: str) -> int:
        files = importlib.metadata.files(name) or ()
        paths = [Path(str(file.locate())) for file in files]
        return sum(path.stat().st_size for path in paths if path.is_file())

    assert required_bytes(("numpy",)) == own("numpy")
    cffi = own("soundfile") + own("cffi") + own("pycparser") + own("numpy")
    assert required_bytes(("soundfile", "numpy")) >= cffi
    assert required_bytes(("soundfile",)) < 1.1 * cffi
    assert required_bytes(("voxmood[cpu]",)) > required_bytes(("voxmood",))
