"""The other end of `process`: starts an engine's process and talks to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from voxmood_bench.engines.process import Conversion, Loaded, LoadSettings, MemoryUse, Runs
from voxmood_bench.errors import BenchmarkError

SCRIPT = Path(__file__).with_name("process.py")


class Worker:
    """A process that runs one engine.

    Its methods raise `BenchmarkError` where the process fails, or says why it cannot do something.

    Args:
        python: the Python of the engine's environment; None takes this one.
        log: the file that gets what the process prints.
    """

    def __init__(self, python: str | None, log: Path) -> None:
        variables = dict(os.environ)
        if python is not None:  # the modules of this process do not belong in another environment
            variables.pop("PYTHONPATH", None)
        with log.open("wb") as file:
            # -P, so that no module beside the script hides one of another package.
            self._process = subprocess.Popen(
                [python or sys.executable, "-P", str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=variables,
                start_new_session=True,  # so that Ctrl-C is for the suite alone to answer
                text=True,
                encoding="utf-8",
            )

    def convert(self, kind: str, conversion: Conversion) -> None:
        """Make a model out of another one."""
        self._ask("convert", kind, asdict(conversion))

    def load(self, kind: str, model: str, threads: int, settings: LoadSettings) -> Loaded:
        """Load a model into the engine of a kind."""
        return Loaded(**self._ask("load", kind, model, threads, asdict(settings)))

    def run(self, audio: Path, least_seconds: float = 0.0, most_runs: int = 1) -> Runs:
        """Time runs on the waveform of a .npy file, until the first limit and at least once."""
        return Runs(**self._ask("run", str(audio), least_seconds, most_runs))

    def memory(self) -> MemoryUse:
        """Return the memory of the process."""
        return MemoryUse(**self._ask("memory"))

    def _ask(self, command: str, *arguments: object) -> Any:
        try:
            print(json.dumps([command, *arguments]), file=self._input, flush=True)
            line = self._output.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"its process ended with status {self._process.wait()}.")
        error, result = json.loads(line)
        if error:
            raise BenchmarkError(error)
        return result

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
