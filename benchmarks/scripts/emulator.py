"""Other CPUs than this machine's, emulated by QEMU in user mode.

Needs x86-64 Debian (or a system like it) and installs what is missing when run as root: QEMU, and
for ARM debootstrap, which unpacks Debian's arm64 Python into the cache. Packages come from where
apt and pip are set up to take them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("~/.cache/voxmood/emulated").expanduser()
SUITE, SUITE_PYTHON = "bookworm", "python3.11"
PACKAGES = "python3,python3-pip"


@dataclass(frozen=True)
class Cpu:
    """A CPU that QEMU knows.

    Attributes:
        about: the hardware that it stands for.
        architecture: `x86_64` or `aarch64`.
        name: as QEMU calls it.
        part: the number of the core, from which ONNX Runtime knows what an ARM core can do.
        features: what /proc/cpuinfo lists beside the basic features.
        exact: False leaves out what makes int8 matmuls exact, to show that it is needed.
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


def emulator(cpu: Cpu) -> list[str]:
    """Return what to put before the path of a program, so that it runs on a CPU.

    For ARM, a program sees the files of Debian's arm64 root instead of the host's, where both
    have them. It cannot start other programs, which the host's kernel cannot run.
    """
    qemu = f"qemu-{cpu.architecture}-static"
    install(qemu, "qemu-user-static")
    if cpu.architecture == "x86_64":
        return [qemu, "-cpu", cpu.name]
    root = _arm_root()
    # ONNX Runtime reads this instead of the host's.
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(
        f"processor\t: 0\nFeatures\t: fp asimd crc32 {cpu.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {cpu.part:#x}\nCPU revision\t: 0\n\n"
    )
    return [qemu, "-L", str(root), "-cpu", cpu.name]


def arm_environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment of the ARM Python and install packages, both under emulation.

    Args:
        folder: where; what it holds is deleted.
        requirements: as pip takes them.

    Returns:
        The path of its Python, to be run by an `emulator`.
    """
    command = emulator(CPUS["cortex-a72"])
    shutil.rmtree(folder, ignore_errors=True)
    # Without its own pip, which venv would have to start; Debian's is seen from inside.
    venv = ["-m", "venv", "--system-site-packages", "--without-pip", str(folder)]
    call(*command, str(_arm_root() / "usr" / "bin" / SUITE_PYTHON), *venv)
    python = folder / "bin" / SUITE_PYTHON
    call(*command, str(python), "-m", "pip", "install", "--quiet", "--no-compile", *requirements)
    return python


def _arm_root() -> Path:
    """Return the folder of Debian's arm64 Python, which is unpacked once."""
    root, done = CACHE / "debian-arm64", CACHE / "debian-arm64" / "complete"
    if done.is_file() and done.read_text() == PACKAGES:
        return root
    install("debootstrap", "debootstrap")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    targets = ["apt-get", "indextargets", "--format=$(REPO_URI)", f"Codename: {SUITE}"]
    mirror = subprocess.check_output(targets, text=True).split()[:1]  # else debootstrap's own
    call("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}",
         SUITE, str(root), *mirror)  # fmt: skip
    for package in (root / "var" / "cache" / "apt" / "archives").glob("*.deb"):
        call("dpkg-deb", "-x", str(package), str(root))
    done.write_text(PACKAGES)
    return root


def install(command: str, package: str) -> None:
    """Install the Debian package of a command, if the command is missing."""
    if shutil.which(command) is None:
        if os.geteuid():
            sys.exit(f"{command} is missing: sudo apt-get install {package}")
        call("apt-get", "update", "-qq")
        call("apt-get", "install", "-y", "-qq", package)


def call(*command: str) -> None:
    """Run a command silently; if it fails, end the program with what the command said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = f"{done.stdout[-1000:]}{done.stderr[-1000:]}"
        sys.exit(f"{' '.join(command)[:200]} ... failed:\n{shown}")
