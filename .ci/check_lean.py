"""Check the environment of the wheel alone: the wheel predicts, and nothing heavy is installed.

    check_lean.py EXPORT_BYTES RECORDING

EXPORT_BYTES is what the packages of voxmood[export,cpu] take. Sizes and times are printed only:
they depend on the build of PyTorch and on the machine.
"""

import importlib.util
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy

HEAVY = ("torch", "transformers", "onnx", "librosa", "scipy", "optimum")
BESIDE = "numpy, onnxruntime, soundfile, soxr"
PROCESSES = 21

export_bytes, recording = int(sys.argv[1]), sys.argv[2]
for name in HEAVY:
    assert importlib.util.find_spec(name) is None, f"{name} is installed beside the lean runtime"

site = Path(numpy.__file__).parents[1]
size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
for installer in ("pip", "setuptools", "pkg_resources"):
    size -= sum(path.stat().st_size for path in (site / installer).rglob("*") if path.is_file())
print(f"installed: {size / 1e6:.0f} MB without pip, 1/{export_bytes / size:.1f} of the export's")


def milliseconds(*command: str) -> float:
    """Return the median time from the start of a fresh process to its end."""
    took = []
    for _ in range(PROCESSES):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - begin)
    return 1000 * statistics.median(took)


def importing(modules: str) -> float:
    """Return the median time that a fresh process takes to import modules, in milliseconds."""
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    runs = [subprocess.check_output([sys.executable, "-c", code]) for _ in range(PROCESSES)]
    return 1000 * statistics.median(map(float, runs))


own, theirs = importing("voxmood.api"), importing(BESIDE)
print(f"import voxmood: {own:.0f} ms, of which {BESIDE}: {theirs:.0f} ms")
first = milliseconds(
    sys.executable, "-c", f"import voxmood; print(voxmood.load().predict({recording!r}).label)"
)
command = milliseconds(str(Path(sys.executable).with_name("voxmood")), "predict", recording)
print(f"fresh process to the first label: {first:.0f} ms; voxmood predict: {command:.0f} ms")

import voxmood  # noqa: E402

prediction = voxmood.load().predict(recording)
print(f"{Path(recording).name}: {prediction.label} {prediction.probabilities}")
