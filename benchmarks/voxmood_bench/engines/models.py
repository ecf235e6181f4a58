"""The models that engines load: where they lie, how they are made, and loading them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voxmood.bundle.description import Bundle, model_file
from voxmood.engine.precision import choose_precision
from voxmood_bench.engines.environments import environment
from voxmood_bench.engines.lineup import Engine
from voxmood_bench.engines.process import Conversion, Loaded, LoadSettings, read_clips
from voxmood_bench.engines.worker import Worker
from voxmood_bench.errors import BenchmarkError


@dataclass(frozen=True)
class Models:
    """The models of one run, found or made when they are needed.

    Attributes:
        checkpoint: the original model, a folder or a hub id.
        folder: the bundle's.
        bundle: its description.
        threads: each engine runs on so many.
        cache: keeps environments and converted models.
        audio: a .npy file of the waveform that is timed.
        calibration: a file of clips, as `write_clips` writes it, for NNCF. It may be missing if no
            engine needs it.
    """

    checkpoint: str
    folder: Path
    bundle: Bundle
    threads: int
    cache: Path
    audio: Path
    calibration: Path

    def path(self, model: str) -> str:
        """Return where a model lies: `bundle`, `checkpoint`, or one that is made of them.

        Raises:
            BenchmarkError: the model could not be made.
            VoxmoodError: the bundle does not have the precision that it is made of.
        """
        if model == "bundle":
            return str(self.folder)
        if model == "checkpoint":
            return self.checkpoint
        if model == "fp32":
            choose_precision(self.bundle, "fp32", "")
            return str(self.folder / model_file("fp32"))
        if model == "lower_bound":
            choose_precision(self.bundle, "int8", "")
            samples = len(np.load(self.audio, mmap_mode="r"))
            key = self.bundle.precisions["int8"].files[model_file("int8")].sha256[:12]
            return self._made(model, f"{model}-{key}-{samples}", None, "bundle", self.audio)
        key = f"{checkpoint_key(self.checkpoint)}-{model}"
        if model == "stock":
            return self._made(model, key, "optimum", "checkpoint", self.audio)
        if model == "stock_int8":
            return self._made(model, key, "optimum", "stock", self.audio)
        clips = b"".join(clip.tobytes() for clip in read_clips(str(self.calibration)))
        key += f"-{hashlib.sha256(clips).hexdigest()[:12]}"
        return self._made(model, key, "openvino", "stock", self.calibration)

    def _made(self, model: str, key: str, where: str | None, source: str, audio: Path) -> str:
        """Return a model that a conversion makes, from the cache if it is there."""
        folder = self.cache / "models" / key
        path = folder / ("model.xml" if where == "openvino" else "model.onnx")
        if not path.is_file():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            conversion = Conversion(
                source=self.path(source),
                target=str(partial),
                audio=str(audio),
                normalize=self._normalize,
                task=self.bundle.task,
                threads=self.threads,
            )
            with Worker(self._python(where), folder.with_name(f"{folder.name}.log")) as worker:
                worker.convert(model, conversion)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        return str(path)

    @property
    def _normalize(self) -> bool:
        return self.bundle.normalization != "none"

    def _python(self, where: str | None) -> str | None:
        return environment(where, self.cache) if where else None

    def load(
        self, name: str, engine: Engine, settings: LoadSettings | None = None
    ) -> tuple[Worker, Loaded]:
        """Return an engine, loaded in a fresh process of its environment, and what loading took.

        Args:
            name: of the engine, for the log.
            engine: to load.
            settings: to load it with; by default the engine's own.

        Raises:
            BenchmarkError: the model could not be made or loaded.
            VoxmoodError: the bundle does not have what the engine needs.
        """
        logs = self.cache / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        model = self.path(engine.model)
        settings = replace(
            settings or engine.settings,
            normalize=self._normalize,
            session_config=dict(self.bundle.session_options),
        )
        worker = Worker(self._python(engine.environment), logs / f"{name}.log")
        try:
            return worker, worker.load(engine.kind, model, self.threads, settings)
        except BenchmarkError:
            worker.close()
            raise

    def disk_bytes(self, engine: Engine) -> int:
        """Return the bytes of the files that an engine loads."""
        if engine.model == "bundle":
            return self.bundle.precisions[engine.settings.precision or ""].bytes
        path = Path(self.path(engine.model))
        if engine.model == "checkpoint":  # which may hold the same weights in several formats
            names = ("model.safetensors", "pytorch_model.bin", "model.pt")
            weights = [path / name for name in names]
            return next((file.stat().st_size for file in weights if file.is_file()), 0)
        if path.suffix == ".xml":
            return path.stat().st_size + path.with_suffix(".bin").stat().st_size
        files = path.parent.glob(f"{path.name}*")  # with external data
        return sum(file.stat().st_size for file in files)

    def at(self, threads: int, audio: Path) -> Models:
        """Return the same models for other threads and another waveform."""
        return replace(self, threads=threads, audio=audio)


def checkpoint_key(checkpoint: str) -> str:
    """Return a checkpoint's name in the cache.

    It depends on the names, sizes and times of the files in a folder, or on the hub id.
    """
    folder = Path(checkpoint)
    facts = [checkpoint]
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        facts = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return f"{folder.resolve().name}-{digest[:12]}"
