"""The machine that figures of speed are taken on, without which they mean nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from voxmood_bench.report.schema import Machine

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "bf16", "sve")
"""The instruction sets that int8 and bfloat16 matmuls use, as Linux names them."""


def machine() -> Machine:
    """Return this machine: its processor, the flags of it that matter here (Linux), its cores."""
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
    return Machine(
        cpu=cpu,
        flags={flag: flag in flags for flag in (ARM_FLAGS if "Features" in facts else FLAGS)},
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )
