"""The script that measures on a GPU, tried on the CPU with a small network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from voxmood_export import export_bundle
from voxmood_export.testing import LARGE, SMALL, make_checkpoint

pytestmark = pytest.mark.thorough

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scripts" / "gpu.py"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gpu")
    make_checkpoint(folder / "checkpoint", LARGE | SMALL)
    export_bundle(folder / "checkpoint", folder / "bundle", precisions=["fp32", "fp16"])
    command = [sys.executable, str(SCRIPT), str(folder / "bundle"), "--device", "cpu"]
    command += ["--reference", str(folder / "checkpoint"), "--rounds", "3"]
    command += ["--sizes", "0.5x1", "0.5x2", "--json", str(folder / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    return found


def test_all_engines_are_timed_at_all_sizes(
    report: dict[str, Any],
) -> None:
    assert report["errors"] == {}
    assert [(cell["seconds"], cell["clips"]) for cell in report["cells"]] == [
        (0.5, 1),
        (0.5, 2),
    ]
    for cell in report["cells"]:
        assert set(cell["median_ms"]) == set(cell["of_reference"]) == set(report["load_s"])


def test_answers_are_compared_with_fp32_on_the_cpu(
    report: dict[str, Any],
) -> None:
    exactness = report["exactness"]
    # Clips are padded to whole seconds there, as for CUDA graphs.
    assert exactness["voxmood fp32"]["max_logit_error"] < 1e-4
    assert 0 < exactness["voxmood fp16"]["max_logit_error"] < 0.1
    assert exactness["voxmood fp32"]["batch_error"] < 1e-4
