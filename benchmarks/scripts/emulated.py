"""Checks on emulated CPUs that the shipped int8 model decides as it does on this one.

    python benchmarks/scripts/emulated.py --audio DIR --json benchmarks/results/emulated.json
    python benchmarks/scripts/emulated.py --cpu avx2 --python oldest/bin/python

Runs the runtime itself on other CPUs than this machine's; `emulator.py` says what that needs. What
an int8 matmul gives depends on the CPU and on the release of ONNX Runtime: `--python` takes an
environment with another release. Exits with 1 where a CPU's answers differ by more than
`BELOW_OWN_ERROR_DB` and `MARGIN` allow; `avx2-saturating` must differ, else the check could not
fail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from emulator import CACHE, CPUS, Cpu, arm_environment, emulator

import voxmood
from voxmood.bundle.description import read_bundle
from voxmood.comparison.metrics import agreement, centered
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.typed_json import to_json
from voxmood_export.clips import speech_like

BELOW_OWN_ERROR_DB = 6.0  # how far the difference between CPUs must lie below int8's own error
MARGIN = 0.05  # between the float model's top two probabilities; nearer ones may change places

PACKAGES = ("numpy", "onnxruntime", "soundfile", "soxr", "tqdm")  # in our versions
RUNTIME = Path(voxmood.__file__).parents[1]


WORKER = """
import importlib.metadata, json, sys
import voxmood, voxmood.engine.int8_probe, voxmood.engine.session

options = json.loads(sys.argv[1])
if not options["exact"]:
    voxmood.engine.session.exact_products = lambda **_: {}
model = voxmood.load(options["bundle"], precision=options["precision"], threads=1)
print(json.dumps({
    "int8_products": voxmood.engine.int8_probe.describe_products(),
    "logits": [model.predict(path).logits.tolist() for path in options["clips"]],
    "versions": {name: importlib.metadata.version(name) for name in ("onnxruntime", "numpy")},
}))
"""


def main() -> int:
    """Run the CPUs that the options name; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--cpu", nargs="*", choices=CPUS, default=list(CPUS), help="CPUs to emulate (default: all)."
    )
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="Folder of recordings (default: generated signals).",
    )
    parser.add_argument(
        "--clips", type=int, default=50, metavar="N", help="Number of them (default: %(default)s)."
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="BUNDLE",
        help="Bundle (default: a small network with random weights).",
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="Python for x86 that has what the lean runtime needs (default: this one).",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Also write what was measured.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.model or _random_bundle(Path(scratch))
        clips = _recordings(options.audio, options.clips) or _signals(Path(scratch), options.clips)
        if not clips:
            parser.error(f"{options.audio}: holds no FLAC or WAV files")

        def run(command: list[str], precision: str = "int8", exact: bool = True) -> dict[str, Any]:
            asked = {"bundle": str(bundle), "precision": precision, "exact": exact}
            call = [*command, "-c", WORKER, json.dumps(asked | {"clips": list(map(str, clips))})]
            done = subprocess.run(call, env=_environment(), stdout=subprocess.PIPE, check=True)
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        native = {precision: run([options.python], precision) for precision in ("fp32", "int8")}
        reference = np.array(native["fp32"]["logits"])
        own = np.array(native["int8"]["logits"])
        print(machine().describe())
        error = _power_db(own, reference)
        print(f"{len(clips)} clips; int8's own error against fp32: {error:.1f} dB")
        rows = {}
        for key in options.cpu:
            cpu = CPUS[key]
            answer = run(_python(cpu, options.python), exact=cpu.exact)
            rows[key] = {"about": cpu.about, "qemu_cpu": cpu.name} | _judge(
                reference, own, np.array(answer.pop("logits"))
            )
            rows[key] |= answer
            print(_as_text(key, rows[key]), flush=True)
    wrong = [key for key, row in rows.items() if row["met"] != CPUS[key].exact]
    if options.json:
        report = {
            "version": 1,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": to_json(machine()),
            "qemu": _first_line("qemu-x86_64-static", "--version"),
            "bundle": read_bundle(bundle).name,
            "clips": len(clips),
            "audio": options.audio.resolve().name if options.audio else "generated signals",
            "below_own_error_db": BELOW_OWN_ERROR_DB,
            "margin": MARGIN,
            "own_error_db": round(error, 2),
            "native": {"int8_products": native["int8"]["int8_products"]},
            "cpus": rows,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for key in wrong:
        print(f"{key}: {'differs' if CPUS[key].exact else 'should differ and does not'}")
    return 1 if wrong else 0


def _random_bundle(folder: Path) -> Path:
    """Return a bundle whose int8 has products of int8, which that of the shipped one has not."""
    from voxmood_export import export_bundle
    from voxmood_export.testing import LARGE, SMALL, make_checkpoint

    make_checkpoint(folder / "checkpoint", LARGE | SMALL)
    export_bundle(folder / "checkpoint", folder / "bundle")
    return folder / "bundle"


def _judge(
    reference: npt.NDArray[np.float64], own: npt.NDArray[np.float64], there: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Compare the emulated int8 logits with the native ones and both with the float model's."""
    below = _power_db(own, reference) - _power_db(there, own)
    exponents = np.exp(centered(reference))
    top = np.sort(exponents / exponents.sum(axis=-1, keepdims=True), axis=-1)
    sure = top[:, -1] - top[:, -2] > MARGIN
    same = bool(agreement(reference[sure], there[sure]) == 1)
    return {
        "difference_db": round(_power_db(there, own), 2),
        "below_own_error_db": round(below, 2),
        "max_logit_difference": float(np.abs(there - own).max()),
        "label_agreement_with_native": agreement(own, there),
        "sure_clips": int(sure.sum()),
        "same_label_where_sure": same,
        "met": same and below >= BELOW_OWN_ERROR_DB,
    }


def _power_db(candidate: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Return the mean power of the difference of centered logits in dB; -inf if there is none."""
    power = float(((centered(candidate) - centered(reference)) ** 2).mean())
    return 10 * float(np.log10(power)) if power else -np.inf


def _as_text(key: str, row: Mapping[str, Any]) -> str:
    return (
        f"{key:<16} {row['about']:<36} {row['below_own_error_db']:>6.1f} dB below int8's own error"
        f", same labels where sure: {'yes' if row['same_label_where_sure'] else 'NO'}"
        f" ({row['sure_clips']} clips); products: {row['int8_products']}"
        f"; ONNX Runtime {row['versions']['onnxruntime']}"
    )


def _recordings(folder: Path | None, count: int) -> list[Path]:
    if folder is None:
        return []
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav"))
    return [files[index * len(files) // count] for index in range(min(count, len(files)))]


def _signals(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{seed}.wav" for seed in range(count)]
    for seed, path in enumerate(paths):
        soundfile.write(path, speech_like(1 + seed % 4, 16000, seed), 16000, subtype="FLOAT")
    return paths


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(RUNTIME), *filter(None, [os.environ.get("PYTHONPATH")])])
    return dict(os.environ) | {"PYTHONPATH": paths}


def _python(cpu: Cpu, x86_python: str) -> list[str]:
    """Return the command of a Python that runs on a CPU."""
    if cpu.architecture == "x86_64":
        return [*emulator(cpu), x86_python]
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    environment, done = CACHE / "arm64-runtime", CACHE / "arm64-runtime" / "complete.json"
    if not done.is_file() or json.loads(done.read_text()) != wanted:
        arm_environment(environment, *wanted)
        done.write_text(json.dumps(wanted))
    # What PYTHONPATH names beside the runtime is of this machine's architecture.
    paths = ["-E", f"PYTHONPATH={RUNTIME}"]
    return [*emulator(cpu), *paths, str(environment / "bin" / "python")]


def _first_line(*command: str) -> str:
    return subprocess.check_output(command, text=True).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
