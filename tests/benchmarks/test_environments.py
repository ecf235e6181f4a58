"""Processes and environments of engines."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from voxmood_bench.engines import worker
from voxmood_bench.engines.environments import environment
from voxmood_bench.engines.lower_bound import write_lower_bound
from voxmood_bench.engines.process import LoadSettings
from voxmood_bench.engines.sizes import installed_bytes, required_bytes
from voxmood_bench.engines.worker import Worker
from voxmood_bench.errors import BenchmarkError
from voxmood_export.clips import speech_like

pytestmark = pytest.mark.linux  # as `bench run` itself


def test_our_own_engines_in_processes_of_their_own(bundle: Path, tmp_path: Path) -> None:
    audio = tmp_path / "clip.npy"
    np.save(audio, speech_like(1.0, 16000, 0))
    settings = LoadSettings(precision="fp32")
    with Worker(None, tmp_path / "log") as process:
        with pytest.raises(BenchmarkError, match="no model is loaded"):
            process.run(audio)
        with pytest.raises(BenchmarkError, match=r"MissingFileError.*no such bundle"):
            process.load("voxmood", "gone", 1, settings)
        loaded = process.load("voxmood", str(bundle), 1, settings)
        assert loaded.versions["onnxruntime"] == onnxruntime.__version__
        assert loaded.import_s >= 0
        assert loaded.load_s > 0
        runs = process.run(audio)
        assert len(runs.seconds) == 1
        assert len(runs.logits or ()) == 4
        assert runs.others >= 0
        assert len(process.run(audio, least_seconds=60, most_runs=3).seconds) == 3
        assert len(process.run(audio, least_seconds=1e-9, most_runs=9).seconds) == 1
        memory = process.memory()
        assert 10 < memory.private_mb < memory.peak_resident_mb


def test_a_worker_that_dies_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "process.py"
    script.write_text("import sys; sys.stdin.readline(); sys.exit(7)")
    monkeypatch.setattr(worker, "SCRIPT", script)
    with (
        Worker(sys.executable, tmp_path / "log") as process,
        pytest.raises(BenchmarkError, match="status 7"),
    ):
        process.run(tmp_path / "clip.npy")


def test_lower_bound_holds_every_int8_matmul(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_lower_bound(bundle, path, speech_like(1.0, 16000, 0), threads=1)
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
