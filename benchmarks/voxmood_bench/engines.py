"""One run of the same waveform in every engine, side by side.

Every engine is a process of its own, loaded once and then idle but for its turns. A round runs
each engine once and begins with another one each time, so that whatever else slows the machine
down meets all of them; ratios are taken within a round, and then their median over the rounds.
What is timed is what a user does: from samples in memory to logits, pre-processing included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from voxmood import AudioError, VoxmoodError
from voxmood.audio import Waveform, read_waveform
from voxmood.bundle import Bundle, model_file, read_bundle
from voxmood.model import choose_precision
from voxmood_bench.environments import Worker, checkpoint_key, converted, environment
from voxmood_bench.errors import BenchmarkError
from voxmood_bench.machine import machine
from voxmood_bench.rounds import Row, take_turns
from voxmood_bench.tables import (
    INT8,
    REFERENCE,
    STOCK_INT8,
    comparisons,
    long_comparisons,
    measured,
)


@dataclass(frozen=True)
class Engine:
    """How an engine is run.

    Attributes:
        environment: of `environments.REQUIREMENTS`; None is this one.
        kind: which loader of `voxmood_bench.peer`.
        model: what it loads, as `Models.path` calls it.
        precision: that it is asked for.
    """

    environment: str | None
    kind: str
    model: str
    precision: str | None = None


ENGINES = {
    INT8: Engine(None, "voxmood", "bundle", "int8"),
    "voxmood fp32": Engine(None, "voxmood", "bundle", "fp32"),
    REFERENCE: Engine("pytorch", "pytorch", "checkpoint", "float32"),
    "PyTorch bfloat16": Engine("pytorch", "pytorch", "checkpoint", "bfloat16"),
    "stock ONNX Runtime fp32": Engine("optimum", "onnxruntime", "stock"),
    STOCK_INT8: Engine("optimum", "onnxruntime", "stock_int8"),
    "stock OpenVINO bfloat16": Engine("openvino", "openvino", "stock", "bf16"),
    "stock OpenVINO NNCF int8": Engine("openvino", "openvino", "nncf"),
    "voxmood fp32 in OpenVINO bfloat16": Engine("openvino", "openvino", "fp32", "bf16"),
    "int8 products alone": Engine(None, "floor", "floor"),
}
CALIBRATION_SECONDS = 40.0  # for NNCF; of audio that is not timed


@dataclass(frozen=True)
class Models:
    """Finds what engines load, or has it made, and loads it.

    Attributes:
        audio, calibration: .npy files of waveforms, the latter for NNCF.
    """

    checkpoint: str
    folder: Path
    bundle: Bundle
    threads: int
    cache: Path
    audio: Path
    calibration: Path

    def path(self, model: str) -> str:
        """Where a model lies: `bundle`, `checkpoint`, or one that is made of them."""
        if model == "bundle":
            return str(self.folder)
        if model == "checkpoint":
            return self.checkpoint
        if model == "fp32":
            return str(self.folder / model_file("fp32"))
        if model == "floor":
            choose_precision(self.bundle, "int8", "")
            samples = len(np.load(self.audio, mmap_mode="r"))
            key = self.bundle.precisions["int8"].files[model_file("int8")].sha256[:12]
            return self._made("floor", f"floor-{key}-{samples}", None, "bundle", self.audio)
        key = f"{checkpoint_key(self.checkpoint)}-{model}"
        if model == "stock":
            return self._made(model, key, "optimum", "checkpoint", self.audio)
        where = "openvino" if model == "nncf" else "optimum"
        return self._made(model, key, where, "stock", self.calibration)

    def _made(self, model: str, key: str, where: str | None, source: str, audio: Path) -> str:
        made = converted(
            model,
            self._python(where),
            self.cache / "models" / key,
            "model.xml" if model == "nncf" else "model.onnx",
            source=self.path(source),
            audio=str(audio),
            normalise=self.bundle.normalisation != "none",
            threads=self.threads,
        )
        return str(made)

    def _python(self, where: str | None) -> str | None:
        return environment(where, self.cache) if where else None

    def load(self, name: str, log: Path) -> tuple[Worker, dict[str, str]]:
        """An engine in a worker of its environment, and the versions of what it is made of."""
        engine = ENGINES[name]
        model = self.path(engine.model)
        options: dict[str, Any] = {
            "normalise": self.bundle.normalisation != "none",
            "config": dict(self.bundle.session_options),
        }
        if engine.precision:
            options["precision"] = engine.precision
        worker = Worker(self._python(engine.environment), log)
        try:
            answer = worker.ask(
                "load", kind=engine.kind, model=model, threads=self.threads, options=options
            )
        except BenchmarkError:
            worker.close()
            raise
        return worker, answer["versions"]


def speech(source: Path | None, rate: int, seconds: float) -> Waveform:
    """So many seconds: a recording, those of a folder in random order, or generated speech.

    Raises:
        AudioError: none can be read.
    """
    if source is None:
        from voxmood_export.signals import speech_like

        return speech_like(seconds, rate, seed=0)
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    Random(0).shuffle(paths)
    clips: list[Waveform] = []
    for path in paths if source.is_dir() else [source]:
        try:
            clips.append(read_waveform(path, rate=rate, max_seconds=3600))
        except AudioError:
            if not source.is_dir():
                raise
            continue  # lists and notes lie between recordings
        if sum(map(len, clips)) >= seconds * rate:
            break
    if not clips:
        raise AudioError(f"{source}: holds no recordings.")
    return np.resize(np.concatenate(clips), round(seconds * rate))


def steps(names: Sequence[str], rounds: int, lengths: Sequence[float]) -> int:
    """How often `compare` calls `progress`."""
    return len(names) + rounds + len(lengths) * _long_rounds(rounds)


def _long_rounds(rounds: int) -> int:
    return max(3, rounds // 3)


def compare(
    checkpoint: str,
    folder: Path,
    *,
    audio: Path | None,
    seconds: float,
    lengths: Sequence[float],
    threads: int,
    rounds: int,
    cache: Path,
    names: Sequence[str] = tuple(ENGINES),
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Measures engines.

    Args:
        checkpoint: the original model, a folder or a hub id.
        folder: of the bundle exported from it.
        audio: a recording or a folder of them; None takes generated speech.
        seconds: of the waveform that every engine runs.
        lengths: other seconds, that voxmood's and the stock int8 run.
        threads: of every engine.
        rounds: so many runs of each.
        cache: keeps environments and converted models.
        names: which of `ENGINES`.
        progress: called at the beginning of each step with its name.

    Returns:
        What `voxmood bench engines --json` prints.
    """
    bundle = read_bundle(folder)
    rate = bundle.sampling_rate
    longest = max(seconds, *lengths, 0.0)
    waveform = speech(audio, rate, longest + CALIBRATION_SECONDS)
    logs = cache / "logs"
    for path in (logs, cache / "models"):
        path.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    versions: dict[str, dict[str, str]] = {}
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def store(name: str, samples: Waveform) -> Path:
            np.save(scratch / f"{name}.npy", samples)
            return scratch / f"{name}.npy"

        timed = store("timed", waveform[: round(seconds * rate)])
        calibration = store("calibration", waveform[round(longest * rate) :])
        models = Models(checkpoint, folder.resolve(), bundle, threads, cache, timed, calibration)
        for name in names:
            progress(f"prepare {name}")
            try:
                worker, versions[name] = models.load(name, logs / f"{name}.log")
            except VoxmoodError as error:
                rows[name] = Row(error=str(error))
            else:
                workers[name] = worker
                stack.callback(worker.close)
        rows |= take_turns(workers, str(timed), rounds, progress)
        for name, found in versions.items():
            rows[name].versions = found

        alone = {name: workers.pop(name) for name in (INT8, STOCK_INT8) if name in workers}
        for worker in workers.values():
            worker.close()
        long = {
            length: take_turns(
                alone,
                str(store(f"{length:g}", waveform[: round(length * rate)])),
                _long_rounds(rounds),
                progress,
            )
            for length in lengths
        }
    return {
        "version": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "threads": threads,
        "rounds": rounds,
        "seconds": seconds,
        "audio": "generated" if audio is None else f"recordings ({audio.resolve().name})",
        "engines": {name: measured(rows[name], rows.get(REFERENCE)) for name in names},
        "comparisons": [*comparisons(rows), *long_comparisons(rows, long, seconds)],
        "lengths": {
            f"{length:g}": {name: measured(row, row) for name, row in of_length.items()}
            for length, of_length in long.items()
        },
    }
