"""The shipped int8 model on emulated CPUs: does it decide as it does on this one?

    python benchmarks/emulated.py --audio DIR --json benchmarks/results/emulated.json
    python benchmarks/emulated.py --cpu avx2

Runs the runtime itself, with QEMU in user mode, on CPUs that this machine is not. Needs x86-64
Debian (or a system like it) and installs what is missing when run as root: QEMU, and for ARM
debootstrap, which unpacks Debian's arm64 Python into the cache; the wheels come from PyPI. Exits
with 1 where a CPU's answers differ by more than `BELOW_OWN_ERROR_DB` and `MARGIN` allow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

import voxmood
from voxmood.bundle import read_bundle
from voxmood.model import shipped_bundle
from voxmood.statistics import agreement, centred
from voxmood_bench.machine import describe, machine
from voxmood_export.signals import speech_like

BELOW_OWN_ERROR_DB = 6.0  # how far the difference between CPUs must lie below int8's own error
MARGIN = 0.05  # between the float model's top two probabilities; nearer ones may change places

CACHE = Path("~/.cache/voxmood/emulated").expanduser()
SUITE, SUITE_PYTHON = "bookworm", "3.11"
WHEELS = ("numpy", "onnxruntime", "soundfile", "soxr", "tqdm")
PLATFORMS = ("manylinux2014", "manylinux_2_26", "manylinux_2_27", "manylinux_2_28")  # as theirs
RUNTIME = Path(voxmood.__file__).parents[1]


@dataclass(frozen=True)
class Cpu:
    """A CPU that QEMU knows.

    Attributes:
        about: what it stands for.
        architecture: `x86_64` or `aarch64`.
        name: QEMU's.
        part: number of the core, from which ONNX Runtime tells what ARM cores can do.
        features: what /proc/cpuinfo lists beside the basic ones.
        exact: False leaves out what makes the products exact, to see that it is needed.
    """

    about: str
    architecture: str
    name: str
    part: int = 0
    features: str = ""
    exact: bool = True


CPUS = {
    "avx2": Cpu("x86 with AVX2, without VNNI", "x86_64", "max"),
    "avx2-saturating": Cpu("the same, products left to saturate", "x86_64", "max", exact=False),
    "sse4": Cpu("x86 of 2008, without AVX", "x86_64", "Nehalem"),
    "cortex-a72": Cpu("Raspberry Pi 4, no dot product", "aarch64", "cortex-a72", 0xD08),
    "cortex-a76": Cpu("Raspberry Pi 5", "aarch64", "cortex-a76", 0xD0B, "asimdhp asimddp"),
    "armv9": Cpu("SVE2, i8mm and SME", "aarch64", "max", 0xD49, "asimdhp asimddp sve i8mm bf16"),
}
"""`avx2-saturating` must fail, else the check could not."""

WORKER = """
import importlib.metadata, json, sys
import voxmood, voxmood.int8, voxmood.session

options = json.loads(sys.argv[1])
if not options["exact"]:
    voxmood.session.exact_products = dict
model = voxmood.load(options["bundle"], precision=options["precision"], threads=1)
print(json.dumps({
    "int8_products": voxmood.int8.describe_products(),
    "logits": [model.predict(path).logits.tolist() for path in options["clips"]],
    "versions": {name: importlib.metadata.version(name) for name in ("onnxruntime", "numpy")},
}))
"""


def main() -> int:
    """Runs the CPUs asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", nargs="*", choices=CPUS, default=list(CPUS), help="default: all")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="default: generated signals")
    parser.add_argument("--clips", type=int, default=50, metavar="N", help="default: %(default)s")
    parser.add_argument("--model", type=Path, metavar="BUNDLE", help="default: the one that ships")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was measured")
    options = parser.parse_args()
    bundle = options.model or shipped_bundle()
    with tempfile.TemporaryDirectory() as scratch:
        clips = _recordings(options.audio, options.clips) or _signals(Path(scratch), options.clips)
        if not clips:
            parser.error(f"{options.audio}: holds no FLAC or WAV files")

        def run(command: list[str], precision: str = "int8", exact: bool = True) -> dict[str, Any]:
            asked = {"bundle": str(bundle), "precision": precision, "exact": exact}
            call = [*command, "-c", WORKER, json.dumps(asked | {"clips": list(map(str, clips))})]
            done = subprocess.run(call, env=_environment(), stdout=subprocess.PIPE, check=True)
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        native = {precision: run([sys.executable], precision) for precision in ("fp32", "int8")}
        reference = np.array(native["fp32"]["logits"])
        own = np.array(native["int8"]["logits"])
        print(describe(machine()))
        error = _power_db(own, reference)
        print(f"{len(clips)} clips; int8's own error against fp32: {error:.1f} dB")
        rows = {}
        for key in options.cpu:
            cpu = CPUS[key]
            answer = run(_emulator(cpu), exact=cpu.exact)
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
            "machine": machine(),
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


def _judge(
    reference: npt.NDArray[np.float64], own: npt.NDArray[np.float64], there: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Compares the emulated int8 logits with the native ones and both with the float model's."""
    below = _power_db(own, reference) - _power_db(there, own)
    exponents = np.exp(centred(reference))
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
    """Mean power of the difference of centred logits, in dB; -inf where there is none."""
    power = float(((centred(candidate) - centred(reference)) ** 2).mean())
    return 10 * float(np.log10(power)) if power else -np.inf


def _as_text(key: str, row: Mapping[str, Any]) -> str:
    return (
        f"{key:<16} {row['about']:<36} {row['below_own_error_db']:>6.1f} dB below int8's own error"
        f", same labels where sure: {'yes' if row['same_label_where_sure'] else 'NO'}"
        f" ({row['sure_clips']} clips); products: {row['int8_products']}"
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


def _emulator(cpu: Cpu) -> list[str]:
    """The command of a Python that runs on a CPU."""
    qemu = f"qemu-{cpu.architecture}-static"
    _install(qemu, "qemu-user-static")
    if cpu.architecture == "x86_64":
        return [qemu, "-cpu", cpu.name, sys.executable]
    root = _arm_root()
    # QEMU looks for files in the root first, so ONNX Runtime reads this and not the host's.
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(
        f"processor\t: 0\nFeatures\t: fp asimd crc32 {cpu.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {cpu.part:#x}\nCPU revision\t: 0\n\n"
    )
    paths = f"PYTHONPATH={RUNTIME}{os.pathsep}{root / 'wheels'}"
    python = root / "usr" / "bin" / f"python{SUITE_PYTHON}"
    return [qemu, "-L", str(root), "-cpu", cpu.name, "-E", paths, str(python)]


def _arm_root() -> Path:
    """Debian's arm64 Python and the runtime's wheels, unpacked side by side; made once."""
    wanted = [f"{name}=={version(name)}" for name in WHEELS]
    root, done = CACHE / "arm64", CACHE / "arm64" / "complete.json"
    if done.is_file() and json.loads(done.read_text()) == wanted:
        return root
    _install("debootstrap", "debootstrap")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    _call("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", "--include=python3",
          SUITE, str(root))  # fmt: skip
    for package in (root / "var" / "cache" / "apt" / "archives").glob("*.deb"):
        _call("dpkg-deb", "-x", str(package), str(root))
    platforms = [f"--platform={platform}_aarch64" for platform in PLATFORMS]
    _call(sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *platforms,
          f"--python-version={SUITE_PYTHON}", f"--target={root / 'wheels'}", *wanted)  # fmt: skip
    done.write_text(json.dumps(wanted))
    return root


def _install(command: str, package: str) -> None:
    if shutil.which(command) is None:
        if os.geteuid():
            sys.exit(f"{command} is missing: sudo apt-get install {package}")
        _call("apt-get", "update", "-qq")
        _call("apt-get", "install", "-y", "-qq", package)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} ... failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")


def _first_line(*command: str) -> str:
    return subprocess.check_output(command, text=True).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
