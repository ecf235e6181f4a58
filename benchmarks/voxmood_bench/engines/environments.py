"""The Python environments of baselines, each with its own versions of what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from voxmood_bench.errors import BenchmarkError

_TORCH = ("torch>=2.6,<=2.13.0", "transformers>=4.57,<5")
REQUIREMENTS = {
    "pytorch": _TORCH,
    "optimum": (*_TORCH, "optimum-onnx>=0.1,<0.2", "onnx>=1.18,<2", "onnxruntime>=1.20,<2"),
    "openvino": ("openvino>=2025.0,<2027", "nncf>=2.15,<4"),
}
"""What each environment holds, so that engines of one do not decide another's versions."""

DEFAULT_FOLDER = Path("~/.cache/voxmood/bench")


def environment(name: str, folder: Path) -> str:
    """Return the Python of an environment, which is made where it is missing or outdated.

    Raises:
        BenchmarkError: the environment could not be made.
    """
    target = environment_folder(name, folder)
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete, wanted = target / "requirements.txt", "\n".join(REQUIREMENTS[name]) + "\n"
    if not complete.is_file() or complete.read_text(encoding="utf-8") != wanted:
        _call(sys.executable, "-m", "venv", "--clear", str(target))
        _call(str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name])
        complete.write_text(wanted, encoding="utf-8")
    return str(python)


def environment_folder(name: str, folder: Path) -> Path:
    """Return where an environment lies in the cache."""
    return folder / "environments" / name


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BenchmarkError(f"{' '.join(command[1:4])} failed ({lines[-1]}).")
