"""The engines side by side: the reference, the bundle in each precision, and optional peers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxmood.audio import Waveform, read_waveform
from voxmood.bundle.description import Bundle, model_file
from voxmood.bundle.locate import choose_precision
from voxmood_bench.environments import Worker, checkpoint_key, converted, environment
from voxmood_bench.errors import BenchmarkError

CALIBRATION_SECONDS = 40.0  # for NNCF; of audio that is not timed


@dataclass(frozen=True)
class Engine:
    """How an engine is run.

    Attributes:
        environment: of `environments.REQUIREMENTS`; None is this one.
        kind: which loader of `voxmood_bench.peer`.
        model: what it loads, as `Models.path` calls it.
        options: of the loader.
    """

    environment: str | None
    kind: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)


REFERENCE = "PyTorch float32"
AGAIN = "again"
"""Ends the name of an engine's second copy, by which the suite measures its own noise."""

PEERS = {
    "PyTorch bfloat16": Engine("pytorch", "pytorch", "checkpoint", {"precision": "bfloat16"}),
    "stock ONNX Runtime fp32": Engine("optimum", "onnxruntime", "stock"),
    "stock ONNX Runtime int8": Engine("optimum", "onnxruntime", "stock_int8"),
    "stock OpenVINO bfloat16": Engine("openvino", "openvino", "stock", {"precision": "bf16"}),
    "stock OpenVINO NNCF int8": Engine("openvino", "openvino", "nncf"),
    "voxmood fp32 in OpenVINO bfloat16": Engine(
        "openvino", "openvino", "fp32", {"precision": "bf16"}
    ),
    "int8 products alone": Engine(None, "floor", "floor"),
}  # fmt: skip
"""What a bundle can be compared with beside its reference; the last is no model but a floor."""


ON_CUDA = {
    "PyTorch float16 on CUDA": Engine(
        None, "pytorch", "checkpoint", {"precision": "float16", "device": "cuda"}
    )
}
"""What a bundle on CUDA is compared with, on the same GPU."""


def lineup(bundle: Bundle, providers: Sequence[str], peers: Sequence[str]) -> dict[str, Engine]:
    """The engines of a run by name: the reference, the bundle's, the main one again, peers.

    Args:
        bundle: all its precisions are run,
        providers: on each of these.
        peers: which of `PEERS`.
    """
    first = main_engine(bundle)
    ours = {
        _name(precision, provider): Engine(
            None, "voxmood", "bundle", {"precision": precision, "provider": provider}
        )
        for provider in providers
        for precision in sorted(bundle.precisions, key=lambda name: _name(name, "cpu") != first)
    }
    copy = {f"{first} {AGAIN}": ours[first]} if first in ours else {}
    reference = Engine(None, "pytorch", "checkpoint", {"precision": "float32"})
    others = (ON_CUDA if "cuda" in providers else {}) | {name: PEERS[name] for name in peers}
    return {REFERENCE: reference} | ours | copy | others


def main_engine(bundle: Bundle) -> str:
    """The engine that `voxmood.load` chooses on a CPU."""
    return _name(choose_precision(bundle, "auto", "CPUExecutionProvider"), "cpu")


def _name(precision: str, provider: str) -> str:
    return f"voxmood {precision}" + ("" if provider == "cpu" else f" {provider}")


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
            choose_precision(self.bundle, "fp32", "")
            return str(self.folder / model_file("fp32"))
        if model == "floor":
            choose_precision(self.bundle, "int8", "")
            samples = len(np.load(self.audio, mmap_mode="r"))
            key = self.bundle.precisions["int8"].files[model_file("int8")].sha256[:12]
            return self._made("floor", f"floor-{key}-{samples}", None, "bundle", self.audio)
        key = f"{checkpoint_key(self.checkpoint)}-{model}"
        if model == "stock":
            return self._made(model, key, "optimum", "checkpoint", self.audio)
        if model == "nncf":
            key += f"-{hashlib.sha256(self.calibration.read_bytes()).hexdigest()[:12]}"
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
            normalise=self.bundle.normalization != "none",
            threads=self.threads,
        )
        return str(made)

    def _python(self, where: str | None) -> str | None:
        return environment(where, self.cache) if where else None

    def load(self, name: str, engine: Engine, **more: Any) -> tuple[Worker, dict[str, Any]]:
        """An engine in a fresh worker of its environment, and what it says of the loading.

        Raises:
            BenchmarkError: it could not be made or loaded.
            VoxmoodError: the bundle does not have what it needs.
        """
        logs = self.cache / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        model = self.path(engine.model)
        options: dict[str, Any] = {
            "normalise": self.bundle.normalization != "none",
            "config": dict(self.bundle.session_options),
        }
        worker = Worker(self._python(engine.environment), logs / f"{name}.log")
        try:
            answer = worker.ask(
                "load",
                kind=engine.kind,
                model=model,
                threads=self.threads,
                options=options | dict(engine.options) | more,
            )
        except BenchmarkError:
            worker.close()
            raise
        return worker, answer

    def disk_bytes(self, engine: Engine) -> int:
        """Bytes of the files that an engine loads."""
        if engine.model == "bundle":
            return self.bundle.precisions[engine.options["precision"]].bytes
        path = Path(self.path(engine.model))
        if engine.model == "checkpoint":  # which may hold the same weights in several formats
            weights = [path / "model.safetensors", path / "pytorch_model.bin"]
            return next((file.stat().st_size for file in weights if file.is_file()), 0)
        if path.suffix == ".xml":
            return path.stat().st_size + path.with_suffix(".bin").stat().st_size
        files = path.parent.glob(f"{path.name}*")  # with external data
        return sum(file.stat().st_size for file in files)

    def at(self, threads: int, audio: Path) -> Models:
        """The same models for other threads and another waveform."""
        return replace(self, threads=threads, audio=audio)


def speech(paths: Sequence[Path], rate: int, seconds: float) -> Waveform:
    """So many seconds of recordings in random order, again from the first if they are too short.

    Raises:
        AudioError: a recording cannot be read.
    """
    clips: list[Waveform] = []
    for index in np.random.default_rng(0).permutation(len(paths)):
        clips.append(read_waveform(paths[index], rate=rate, max_seconds=3600))
        if sum(map(len, clips)) >= seconds * rate:
            break
    return np.resize(np.concatenate(clips), round(seconds * rate))
