"""Run in the environment of the wheel alone: it predicts, and nothing heavy is there."""

import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "transformers", "onnx", "librosa", "scipy", "optimum")
BESIDE = "numpy, onnxruntime, soundfile, soxr"

for name in HEAVY:
    assert importlib.util.find_spec(name) is None, f"{name} is installed beside the lean runtime"


def milliseconds(modules: str) -> float:
    """Time to import modules in a fresh process, median of several."""
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    runs = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(9)]
    return 1000 * statistics.median(map(float, runs))


site = Path(importlib.util.find_spec("numpy").origin).parents[1]
size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
pip = sum(path.stat().st_size for path in (site / "pip").rglob("*") if path.is_file())
print(f"installed: {(size - pip) / 1e6:.0f} MB without pip")
own, theirs = milliseconds("voxmood.api"), milliseconds(BESIDE)
print(f"import voxmood: {own:.0f} ms, of which {BESIDE}: {theirs:.0f} ms")

import voxmood  # noqa: E402

for recording in sys.argv[1:]:
    prediction = voxmood.load().predict(recording)
    print(f"{Path(recording).name}: {prediction.label} {prediction.probabilities}")
