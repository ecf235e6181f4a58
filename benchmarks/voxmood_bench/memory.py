"""Load time and memory of a bundle, each figure from fresh processes (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PROBE = """
import json, resource, sys, time
begin = time.perf_counter()
import numpy, voxmood
options = json.loads(sys.argv[1])
imported = time.perf_counter() - begin

def private_mb():
    with open("/proc/self/smaps_rollup") as file:
        facts = dict(line.split(":") for line in file if line.endswith("kB\\n"))
    return int(facts["Private_Dirty"].split()[0]) / 1000

begin = time.perf_counter()
model = voxmood.load(verify=options.pop("verify"), **options.pop("load"))
loaded = time.perf_counter() - begin
waveform = numpy.random.default_rng(0).normal(0, 0.1, round(options["seconds"] * 16000))
times = []
for _ in range(3):
    begin = time.perf_counter()
    model.predict(waveform, sampling_rate=16000)
    times.append(time.perf_counter() - begin)
print(json.dumps({
    "import_s": imported,
    "load_s": loaded,
    "first_run_s": times[0],
    "third_run_s": times[2],
    "private_mb": private_mb(),
    "peak_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
}))
"""


def measure(
    bundle: str | None, precision: str, *, seconds: float, threads: int | None, repeats: int = 5
) -> dict[str, dict[str, float]]:
    """Measures the usual and the low-memory way to load a bundle, and what verifying it costs.

    Args:
        bundle: its folder; None takes the one that ships.
        precision: as `voxmood.load` takes it.
        seconds: of the clip that is predicted three times.
        threads: of the session.
        repeats: fresh processes for each; of every figure the median is taken.

    Returns:
        For each way, seconds and megabytes. `private_mb` is memory that the process alone holds,
        `peak_resident_mb` counts mapped pages of the model's file too, which the system can drop.
    """
    usual = {"source": bundle, "precision": precision, "threads": threads}
    ways: dict[str, dict[str, Any]] = {
        "load(verify=False)": {"load": usual, "verify": False},
        "load()": {"load": usual, "verify": True},
        "load(low_memory=True, verify=False)": {
            "load": usual | {"low_memory": True},
            "verify": False,
        },
    }
    return {
        way: _median([_probe(options | {"seconds": seconds}) for _ in range(repeats)])
        for way, options in ways.items()
    }


def _probe(options: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-c", PROBE, json.dumps(options)]
    facts: dict[str, float] = json.loads(subprocess.run(command, stdout=-1, check=True).stdout)
    return facts


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(sorted(run[key] for run in runs)[len(runs) // 2], 3) for key in runs[0]}


def as_text(report: dict[str, dict[str, float]]) -> str:
    """One row a way."""
    width = max(map(len, report))
    lines = [
        f"{'':<{width}} {'load s':>8} {'first s':>8} {'third s':>8} {'private':>8} {'peak MB':>8}"
    ]
    for way, facts in report.items():
        lines.append(
            f"{way:<{width}} {facts['load_s']:>8.2f} {facts['first_run_s']:>8.3f}"
            f" {facts['third_run_s']:>8.3f} {facts['private_mb']:>8.0f}"
            f" {facts['peak_resident_mb']:>8.0f}"
        )
    return "\n".join(lines)
