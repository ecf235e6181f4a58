"""Environments, conversions and processes of the engines that bundles are compared with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Any

from packaging.requirements import Requirement

from voxmood_bench.errors import BenchmarkError

_TORCH = ("torch>=2.6,<=2.13.0", "transformers>=4.57,<5")
REQUIREMENTS = {
    "pytorch": _TORCH,
    "optimum": (*_TORCH, "optimum-onnx>=0.1,<0.2", "onnx>=1.18,<2", "onnxruntime>=1.20,<2"),
    "openvino": ("openvino>=2025.0,<2027", "nncf>=2.15,<4"),
}
"""What each environment holds, so that engines of one do not decide another's versions."""

DEFAULT_FOLDER = Path("~/.cache/voxmood/bench")
PEER = Path(__file__).with_name("peer.py")


def environment(name: str, folder: Path) -> str:
    """The Python of an environment, which is made if it is not there as it should be.

    Raises:
        BenchmarkError: it could not be made.
    """
    target = folder / "environments" / name
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete, wanted = target / "requirements.txt", "\n".join(REQUIREMENTS[name]) + "\n"
    if not complete.is_file() or complete.read_text(encoding="utf-8") != wanted:
        _call(sys.executable, "-m", "venv", "--clear", str(target))
        _call(str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name])
        complete.write_text(wanted, encoding="utf-8")
    return str(python)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise BenchmarkError(f"{' '.join(command[1:4])} failed ({lines[-1]}).")


def installed_bytes(name: str, folder: Path) -> int:
    """Bytes of an environment's packages, less the installer's."""
    return sum(
        file.lstat().st_size
        for file in (folder / "environments" / name).rglob("*")
        if file.is_file() and not {"pip", "setuptools"} & set(file.parts)
    )


@cache
def required_bytes(packages: tuple[str, ...]) -> int:
    """Bytes of packages of this environment and of all that they require and that is there."""
    todo = [Requirement(package) for package in packages]
    done: set[tuple[str, str]] = set()
    sizes: dict[str, int] = {}
    while todo:
        wanted = todo.pop()
        for extra in ("", *wanted.extras):
            if (wanted.name, extra) in done:
                continue
            done.add((wanted.name, extra))
            try:
                found = distribution(wanted.name)
            except PackageNotFoundError:  # of an extra that is not installed
                continue
            files = [Path(str(file.locate())) for file in found.files or ()]
            sizes[found.name] = sum(file.stat().st_size for file in files if file.is_file())
            for requirement in map(Requirement, found.requires or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    todo.append(requirement)
    return sum(sizes.values())


def checkpoint_key(checkpoint: str) -> str:
    """Names a checkpoint in the cache: by its files' names, sizes and times, or by its hub id."""
    folder = Path(checkpoint)
    facts = [checkpoint]
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        facts = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return f"{folder.resolve().name}-{digest[:12]}"


def converted(kind: str, python: str | None, folder: Path, file: str, **arguments: Any) -> Path:
    """A file that a conversion makes, from the cache if it is there.

    Args:
        kind: of conversion, as `voxmood_bench.peer` calls it.
        python: of the environment to convert in; None takes this one.
        folder: where the results go, whole or not at all.
        file: which of them.
        arguments: of the conversion.

    Raises:
        BenchmarkError: it failed.
    """
    if not (folder / file).is_file():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with Worker(python, folder.with_name(f"{folder.name}.log")) as worker:
            worker.ask("convert", kind=kind, target=str(partial), **arguments)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder / file


class Worker:
    """A process of `voxmood_bench.peer`.

    Args:
        python: of the environment; None takes this one.
        log: where what it prints goes.
    """

    def __init__(self, python: str | None, log: Path) -> None:
        variables = dict(os.environ)
        if python is not None:  # what this process finds there is none of a peer's business
            variables.pop("PYTHONPATH", None)
        with log.open("wb") as file:
            # -P: the folder of the script holds modules with the names of Python's own.
            self._process = subprocess.Popen(
                [python or sys.executable, "-P", str(PEER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=variables,
                start_new_session=True,  # so that Ctrl-C is for the suite alone to answer
                text=True,
                encoding="utf-8",
            )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends one request and waits for its answer.

        Raises:
            BenchmarkError: the worker says why not, or has died.
        """
        try:
            print(json.dumps({"command": command} | arguments), file=self._input, flush=True)
            line = self._output.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"its process ended with status {self._process.wait()}.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(answer["error"])
        return answer

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
