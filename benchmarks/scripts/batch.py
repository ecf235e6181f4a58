"""Measures how fast `voxmood batch` is, beside a loop of `predict` on one thread, and on Ray.

    python benchmarks/scripts/batch.py DIR --json benchmarks/results/batch.json
    python benchmarks/scripts/batch.py DIR --files 100 --model bundle@int8 --engines loop local

Each engine is a process that labels the recordings of DIR, repeated until there are enough; engines
alternate. Each is timed on all recordings and on a few, so that the time it takes to start does not
count in its rate; that time is a figure of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import soundfile

import voxmood
from voxmood.audio.listing import find_recordings
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.typed_json import to_json

FEW = 64
LOOP = """
import sys, voxmood
from pathlib import Path
model = voxmood.load(sys.argv[2] if len(sys.argv) > 2 else None, threads=1)
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path, model.predict(path).probabilities)
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="Folder of recordings.")
    parser.add_argument(
        "--files", type=int, default=2000, help="Number of them (default: %(default)s)."
    )
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of all engines (default: 3).")
    parser.add_argument("--model", help="Bundle (default: the one that ships).")
    parser.add_argument("--engines", nargs="+", default=["loop", "local", "ray"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="Also write the figures to FILE.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(options, Path(scratch))
    text = json.dumps(measured, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run all rounds and return what they measured."""
    paths = [recording.path.resolve() for recording in find_recordings(options.folder)]
    few, everything = min(FEW, options.files // 4), options.files
    for count in (few, everything):
        (scratch / str(count)).mkdir()
        for index, path in enumerate(islice(cycle(paths), count)):
            (scratch / str(count) / f"{index:06}{path.suffix}").symlink_to(path)
    seconds = {
        count: sum(soundfile.info(path).duration for path in islice(cycle(paths), count))
        for count in (few, everything)
    }
    hours = (seconds[everything] - seconds[few]) / 3600
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in options.engines}
    for number in range(options.rounds):
        for name in options.engines if number % 2 == 0 else reversed(options.engines):
            start, _ = timed(name, scratch, few, options.model)
            total, memory = timed(name, scratch, everything, options.model)
            runs[name].append({"few_s": start, "all_s": total, "peak_mb": memory})
    engines: dict[str, dict[str, Any]] = {}
    for name, rounds in runs.items():
        rate = statistics.median((everything - few) / (r["all_s"] - r["few_s"]) for r in rounds)
        engines[name] = {
            "files_per_s": round(rate, 1),
            "audio_hours_per_hour": round(hours * 3600 * rate / (everything - few)),
            "all_s": round(statistics.median(r["all_s"] for r in rounds), 2),
            "start_s": round(statistics.median(r["few_s"] - few / rate for r in rounds), 2),
            "peak_mb": round(max(r["peak_mb"] for r in rounds)),  # of Ray, its driver alone
            "rounds": [{key: round(value, 2) for key, value in r.items()} for r in rounds],
        }
    return {
        "voxmood": voxmood.__version__,
        "machine": to_json(machine()),
        "model": options.model or "the bundle that ships",
        "files": everything,
        "audio_s": round(seconds[everything], 1),
        "engines": engines,
    }


def timed(engine: str, scratch: Path, count: int, model: str | None) -> tuple[float, float]:
    """Return the seconds that a process takes for some recordings, and its peak memory in MB."""
    output = scratch / f"labels{'' if engine == 'ray' else '.csv'}"
    folder = str(scratch / str(count))
    if engine == "loop":
        command = ["-c", LOOP, folder, *([model] if model else [])]
    else:
        command = ["-m", "voxmood", "batch", folder, "--output", str(output), "--force"]
        command += ["--engine", engine, *(["--model", model] if model else [])]
    # Ray lowers the priority of its workers, which other work on the machine would add to.
    environment = os.environ | {"RAY_worker_niceness": "0"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{engine}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
