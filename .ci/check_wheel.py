"""Build the sdist and the wheel, and check that they are what a release needs.

Needs `uv`, and this checkout installed, as CONTRIBUTING.md says.

    python .ci/check_wheel.py OUT [--python PYTHON ...]

- Two builds, of other folders, at other times, with other permissions, the one by way of the sdist
  and the other not, give the same bytes.
- They hold the model that ships, whose weights are those of the checkout, and the licenses.
- With every Python given, and with the oldest and with the newest releases of what pyproject.toml
  asks for, the wheel runs from a folder in which, as everywhere, it may write nothing. It does so
  on this CPU and on an emulated one without VNNI, where ONNX Runtime converts int8 weights in a way
  that differs between its releases, and gives the same answers.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks" / "scripts"))  # which are not in the wheel
from emulator import CPUS, emulator  # noqa: E402

HELLO = ROOT / "runtime" / "examples" / "hello.wav"
BUNDLE = "models/voxmood-small/bundle"
LICENSES = ("LICENSE", "models/voxmood-small/LICENSE")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
TOLERANCE = 1e-4
"""Of a probability, between releases of ONNX Runtime and CPUs."""

REPORT = """
import json, sys
from importlib.metadata import version
import voxmood
from voxmood.bundle.locate import shipped_bundle

hello, bundle = sys.argv[1], shipped_bundle()
assert version("voxmood") == voxmood.__version__
model = voxmood.load()
print(json.dumps({
    "python": sys.version.split()[0],
    "versions": {name: version(name) for name in ("onnxruntime", "numpy", "soundfile", "soxr")},
    "bundle": str(bundle),
    "probabilities": model.predict(hello).probabilities,
    "segments": len(list(model.timeline(hello, window=2))),
    "low_memory": voxmood.load(low_memory=True, verify=False).predict(hello).label,
}))
"""


def main() -> None:
    """Build both, check them in each environment, and print what was checked.

    Raises:
        AssertionError: the wheel or its answers are not as they should be.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="Folder for the sdist and the wheel."
    )
    parser.add_argument(
        "--python", nargs="+", default=[sys.executable], help="Pythons to try (default: this one)."
    )
    options = parser.parse_args()
    cpus = {"this CPU": [], CPUS["avx2"].about: emulator(CPUS["avx2"])}
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build(Path(scratch), options.output.resolve())
        reference = None
        for python in options.python:
            for name, resolution in RESOLUTIONS.items():
                environment = install(Path(scratch) / "environment", python, resolution, wheel)
                for cpu, emulation in cpus.items():
                    facts = run(environment, emulation)
                    reference = reference or facts["probabilities"]
                    check(facts, reference)
                    versions = ", ".join(" ".join(pair) for pair in facts["versions"].items())
                    where = f"Python {facts['python']}, {name}, {cpu}"
                    print(f"{where}: {versions}: as it should be", flush=True)


def build(scratch: Path, output: Path) -> Path:
    """Build twice, check that both times give the same bytes, and return the wheel."""
    files = call("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]
    builds = []
    for name, mode, options in (("one", 0o022, []), ("the/other", 0o077, ["--sdist", "--wheel"])):
        copy = scratch / name / "checkout"
        old = os.umask(mode)
        for file in files:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy / file)
            executable = (ROOT / file).stat().st_mode & 0o100
            (copy / file).chmod((0o777 if executable else 0o666) & ~mode)
            if name == "one":
                os.utime(copy / file, (1e9, 1e9))
        dist = scratch / name / "dist"
        call("uv", "build", "--quiet", "--out-dir", str(dist), *options, str(copy))
        os.umask(old)
        time.sleep(2)  # the resolution of times in a ZIP file
        builds.append({path.name: path for path in dist.glob("voxmood-*")})
    output.mkdir(parents=True, exist_ok=True)
    for name, path in builds[0].items():
        digests = [hashlib.sha256(each[name].read_bytes()).hexdigest() for each in builds]
        assert digests[0] == digests[1], f"{name}: two builds differ: {digests}"
        print(f"{name}: {path.stat().st_size / 1e6:.1f} MB, two builds alike, sha256 {digests[0]}")
        shutil.copyfile(path, output / name)
    sdist, wheel = sorted(builds[0].values(), key=lambda path: path.suffix)
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
        assert inside >= {*LICENSES, f"{BUNDLE}/bundle.json"}, "the sdist lacks a file"
    with zipfile.ZipFile(wheel) as archive:
        facts = sdist.name.removesuffix(".tar.gz") + ".dist-info"
        licenses = {f"{facts}/licenses/{name}" for name in LICENSES}
        assert licenses <= set(archive.namelist()), "the wheel lacks a license"
        parts = {name: archive.read(name) for name in archive.namelist() if BUNDLE in name}
        expected = {"bundle.json": "wheel.json", "model.int8.onnx": "bundle/model.int8.onnx"}
        assert parts == {
            f"voxmood/{BUNDLE}/{name}": (ROOT / BUNDLE).parent.joinpath(file).read_bytes()
            for name, file in expected.items()
        }
    return output / wheel.name


def install(environment: Path, python: str, resolution: str, wheel: Path) -> Path:
    """Make a new environment of the wheel and what it needs, in which nobody may write."""
    if environment.exists():
        call("chmod", "-R", "u+w", str(environment))
    call("uv", "venv", "--quiet", "--clear", "--python", python, str(environment))
    pip = ["uv", "pip", "install", "--quiet", "--python", str(environment / "bin" / "python")]
    # Copied, since the files of uv's cache would lose their permissions, too.
    pip += ["--only-binary", ":all:", "--link-mode", "copy"]
    call(*pip, "--resolution", resolution, "-r", str(ROOT / "pyproject.toml"), "--extra", "cpu")
    call(*pip, "--no-deps", str(wheel))
    shutil.copyfile(HELLO, environment / HELLO.name)
    call("chmod", "-R", "a-w", str(environment))
    return environment


def run(environment: Path, emulation: Sequence[str]) -> dict[str, Any]:
    """Return what the wheel says there, run by a user who may write nowhere in it.

    Args:
        environment: as `install` makes it.
        emulation: what to put before the path of Python, so that it runs on another CPU.
    """
    python = str(environment / "bin" / "python")
    command = [*emulation, python, "-I", "-c", REPORT, HELLO.name]
    if os.geteuid() == 0:  # whom no permissions hold back
        command = ["setpriv", "--bounding-set", "-dac_override", *command]
    before = listing(environment)
    facts: dict[str, Any] = json.loads(
        call(*command, cwd=environment, env={"HOME": "/nonexistent"})
    )
    assert listing(environment) == before, "it wrote into its environment"
    assert Path(facts["bundle"]).is_relative_to(environment), f"not the wheel's: {facts['bundle']}"
    return facts


def check(facts: dict[str, Any], reference: dict[str, float]) -> None:
    """Check that the answers are those of the first environment."""
    found = facts["probabilities"]
    for label, probability in reference.items():
        assert abs(found[label] - probability) <= TOLERANCE, found
    assert facts["segments"] == 4
    assert facts["low_memory"] == max(reference, key=lambda label: reference[label])


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Return the names, sizes and times of all files."""
    facts = {path: path.lstat() for path in folder.rglob("*")}
    return sorted((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in facts.items())


def call(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=cwd, env=env
    ).stdout


if __name__ == "__main__":
    main()
