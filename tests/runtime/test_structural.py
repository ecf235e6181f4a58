"""Recordings whose structure was changed: nothing is lost without a word, whatever FFmpeg reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

SEED = 18
SCRIPT = Path(__file__).with_name("structural.py")


def run(count: int, *options: str) -> dict[str, float]:
    """Runs the script; what it prints of each failure is what the test then says."""
    command = [sys.executable, str(SCRIPT), str(SEED), str(count), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}{done.stderr[-2000:]}"
    counts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return counts


def test_valid_files_of_every_format() -> None:
    counts = run(0, "--originals")
    assert counts["formats"] > 150


def test_changed_files() -> None:
    """A short run; `python structural.py SEED COUNT` makes any number of them."""
    counts = run(250)
    assert counts["ok"] > 150
