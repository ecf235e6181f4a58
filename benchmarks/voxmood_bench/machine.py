"""What a figure of speed is worth nothing without: the machine it was taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "bf16", "sve")
"""What int8 and bfloat16 products are made of, as Linux names it."""


def machine() -> dict[str, Any]:
    """The processor, those of its flags that matter here (Linux), and the cores it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    cpu = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts:  # clouds hide the model's number in its name, not here
        cpu += f" (family {facts['cpu family']}, model {facts.get('model')})"
    return {
        "cpu": cpu,
        "flags": {flag: flag in flags for flag in (ARM_FLAGS if "Features" in facts else FLAGS)},
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def describe(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    flags = " ".join(f"{'+' if there else '-'}{flag}" for flag, there in facts["flags"].items())
    return f"{facts['cpu']}, {facts['cores']} cores, {flags}"
