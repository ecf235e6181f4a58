"""A loaded model and what it predicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from voxmood.audio import AudioReader, AudioSource, Waveform
from voxmood.audio.speech import GATE_DBFS, speech_samples
from voxmood.audio.windows import Windows
from voxmood.bundle.description import DESCRIPTION, Bundle, check_files, model_file, read_bundle
from voxmood.bundle.graph_file import GraphFile, read_graph_file
from voxmood.bundle.locate import choose_precision, locate
from voxmood.engine.session import (
    Provider,
    check_int8_matmuls,
    create_session,
    nodes_by_provider,
    resolve_provider,
    run_options,
)
from voxmood.errors import AudioError, BundleError, ForkError, ProviderError
from voxmood.results import Prediction, Segment
from voxmood.timeline import Timeline

INPUTS = ["waveform", "lengths"]
OUTPUTS = ["logits", "probabilities", "embedding"]

BATCH_CLIPS = 16
BATCH_SECONDS = 60.0  # padding included; bounds the memory of one run
LONG_SECONDS = 30.0  # `predict` labels longer recordings window by window
LONG_WINDOW_SECONDS = 10.0

SILENT = f"never above {GATE_DBFS:g} dBFS: what is said of silence means nothing"


@dataclass(frozen=True, eq=False)
class Clip:
    """A waveform that one pass takes, float32 [samples], and what is unusual about it."""

    waveform: Waveform
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LongRecording:
    """A recording that takes several passes: its reader, and all blocks of its waveform."""

    reader: AudioReader
    blocks: Iterator[Waveform]


class Model:
    """A bundle in one precision, ready to run; made by `load`.

    Threads may share one. A process that was forked after it was loaded may not (`ForkError`).
    A copy, or what another process gets that is sent one, is loaded again from the same folder.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        precision: str,
        *,
        provider: Provider,
        threads: int | None,
        low_memory: bool,
    ) -> None:
        self._loaded = {
            "source": folder.absolute(),
            "precision": precision,
            "provider": provider,
            "threads": threads,
            "low_memory": low_memory,
        }
        self.bundle = bundle
        self.precision = precision
        self._path = path = folder / model_file(precision)
        graph = read_graph_file(path)
        self._check_graph(path, graph)
        if precision == "int8":
            check_int8_matmuls(path, graph)
        self._process = os.getpid()
        self._options = run_options(low_memory)
        self._session = create_session(
            path,
            providers=resolve_provider(provider),
            threads=threads,
            config=bundle.session_options,
            int8=precision == "int8",
            low_memory=low_memory,
        )

    def _check_graph(self, path: Path, graph: GraphFile) -> None:
        if graph.inputs != INPUTS or graph.outputs != OUTPUTS:
            raise BundleError(f"{path}: its inputs and outputs are not those of a voxmood graph.")
        data = self.bundle.precisions[self.precision].files.get(f"{path.name}.data")
        if graph.data_bytes > (data.bytes if data else 0):
            raise BundleError(f"{path}: its weights reach beyond its data; export it again.")
        for key, value in self.bundle.metadata().items():
            if graph.metadata.get(key) != value:
                raise BundleError(
                    f"{path}: its {key} is {graph.metadata.get(key)!r}, bundle.json's is "
                    f"{value!r}; the files are not of one bundle. Export it again."
                )

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[dict[str, Any]]]:
        """Return how another process, or a copy, comes to the same model."""
        return _load_again, (self._loaded,)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the logits."""
        return self.bundle.labels

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes of the graph run on each provider, by ONNX Runtime's names of them."""
        return nodes_by_provider(self._session)

    def predict(self, source: AudioSource, *, sampling_rate: int | None = None) -> Prediction:
        """Labels one recording.

        Up to 30 s are labelled in one pass. Longer ones are cut into windows of 10 s, in memory
        that does not grow with their length, and the logits and embeddings of the windows are
        averaged, weighted by the length of what is not silent in each (by their length, if all
        is silent).

        Args:
            source: a path, the bytes of a file, or a binary file object, which is read from its
                beginning; or samples (floats of -1 to 1, or int16 or int32 PCM), [samples] or
                [frames, channels], as an array, a tensor or a list, together with `sampling_rate`,
                or as `(samples, rate)` or `{"array": samples, "sampling_rate": rate}`.
            sampling_rate: the rate of samples, in Hz; files bring their own.

        Raises:
            AudioError: the source is no audio, empty, too short, or has unusable samples; what
                else unusual audio gets is listed in `voxmood.audio`.
            MissingFileError: the path does not exist.
        """
        read = self._read(source, sampling_rate)
        return self._run([read])[0] if isinstance(read, Clip) else self._run_windows(read)

    def timeline(
        self,
        source: AudioSource,
        window: float = 5.0,
        hop: float = 1.0,
        *,
        sampling_rate: int | None = None,
    ) -> Timeline:
        """Labels a recording of any length, window by window.

        Decoded and resampled in blocks, so that memory does not depend on the length. The last
        segment ends where the recording does and may be shorter; less than the model takes
        (25 ms) is left out.

        Args:
            source: as `predict` takes it.
            window: length of a segment, in seconds.
            hop: from the start of one segment to that of the next, in seconds.
            sampling_rate: the rate of an array, in Hz.

        Returns:
            An iterator over `Segment`, each as soon as it is known. Iterating raises AudioError
            where the recording turns out to be empty, too short, or to have unusable samples.

        Raises:
            AudioError: the source is no audio, or the model does not take such a window.
            MissingFileError: the path does not exist.
        """
        windows = Windows(window, hop, self.bundle)
        reader = AudioReader(source, rate=self.bundle.sampling_rate, sampling_rate=sampling_rate)
        return Timeline(reader, windows, self.label_window, self._check_length)

    def predict_batch(
        self, sources: Iterable[AudioSource], *, sampling_rate: int | None = None
    ) -> list[Prediction]:
        """Labels recordings, in their order; each as `predict` would alone.

        Float models take clips of similar length together; int8 ones take them one by one, since
        one range over a batch would let its clips change each other.

        Raises:
            AudioError, MissingFileError: as `predict`, for the first source that fails.
        """
        if self.precision == "int8":
            return [self.predict(source, sampling_rate=sampling_rate) for source in sources]
        predictions: list[Prediction] = []
        remaining = iter(sources)
        # Some batches' worth at a time: enough to sort by length, not all audio in memory.
        while group := list(islice(remaining, 4 * BATCH_CLIPS)):
            clips = dict[int, Clip]()
            done = dict[int, Prediction]()
            for index, source in enumerate(group):
                read = self._read(source, sampling_rate)
                if isinstance(read, Clip):
                    clips[index] = read
                else:
                    done[index] = self._run_windows(read)
            for batch in self._batches(clips):
                done |= zip(batch, self._run([clips[index] for index in batch]), strict=True)
            predictions += [done[index] for index in range(len(group))]
        return predictions

    def label_window(self, start: int, waveform: Waveform) -> Segment:
        """Labels a window of a recording.

        Args:
            start: where it begins in the recording, in samples at the model's rate.
            waveform: float32 [samples] at the model's rate.
        """
        rate = self.bundle.sampling_rate
        prediction = self._run([Clip(waveform)])[0]
        return Segment(
            start=start / rate,
            end=(start + len(waveform)) / rate,
            label=prediction.label,
            probabilities=prediction.probabilities,
            silent=not speech_samples(waveform, rate),
        )

    def _check_length(self, reader: AudioReader) -> None:
        """Raise AudioError if a recording that was read is shorter than the model takes."""
        rate = self.bundle.sampling_rate
        if reader.samples < self.bundle.min_samples:
            raise AudioError(
                f"{reader.name}: {reader.samples / rate:.4f} s is shorter than the "
                f"{self.bundle.min_samples / rate:.4f} s that the model needs."
            )

    def _batches(self, clips: Mapping[int, Clip]) -> Iterator[list[int]]:
        limit = BATCH_SECONDS * self.bundle.sampling_rate
        batch: list[int] = []
        for index in sorted(clips, key=lambda index: len(clips[index].waveform)):
            # Ascending, so the newest sets the padded length.
            length = len(clips[index].waveform)
            if len(batch) == BATCH_CLIPS or (len(batch) + 1) * length > limit:
                if batch:
                    yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _read(self, source: AudioSource, sampling_rate: int | None) -> Clip | LongRecording:
        """Read a recording, or as much of it as shows that it takes several passes."""
        rate = self.bundle.sampling_rate
        reader = AudioReader(source, rate=rate, sampling_rate=sampling_rate)
        blocks = iter(reader)
        begun: list[Waveform] = []
        for block in blocks:
            begun.append(block)
            if reader.samples > min(LONG_SECONDS * rate, self.bundle.max_samples):
                return LongRecording(reader, chain(begun, blocks))
        self._check_length(reader)
        waveform = np.concatenate(begun)
        silent = () if speech_samples(waveform, rate) else (SILENT,)
        return Clip(waveform, reader.warnings + silent)

    def _run_windows(self, recording: LongRecording) -> Prediction:
        """Return the mean of what the windows of a long recording get, weighted by speech."""
        reader = recording.reader
        rate = self.bundle.sampling_rate
        window = min(LONG_WINDOW_SECONDS, self.bundle.max_samples / rate)
        windows = Windows(window, window, self.bundle)
        parts: list[Prediction] = []
        speech: list[int] = []
        for _, waveform in windows.over(recording.blocks):
            parts += self._run([Clip(waveform)])
            speech.append(speech_samples(waveform, rate))
        weights = speech if any(speech) else [part.duration for part in parts]
        logits = np.average([part.logits for part in parts], axis=0, weights=weights)
        embedding = np.average([part.embedding for part in parts], axis=0, weights=weights)
        exponents = np.exp(logits - logits.max())
        probabilities = map(float, exponents / exponents.sum())
        return Prediction(
            label=self.labels[int(np.argmax(logits))],
            probabilities=dict(zip(self.labels, probabilities, strict=True)),
            logits=logits.astype(np.float32),
            embedding=embedding.astype(np.float32),
            duration=reader.samples / rate,
            warnings=reader.warnings + (() if any(speech) else (SILENT,)),
        )

    def _run(self, clips: list[Clip]) -> list[Prediction]:
        lengths = np.array([len(clip.waveform) for clip in clips], np.int64)
        padded = np.zeros((len(clips), lengths.max()), np.float32)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip.waveform)] = clip.waveform
        if os.getpid() != self._process:
            raise ForkError(
                "this model was loaded before the process forked, and its threads were not copied; "
                "load it in the child, or start processes that do not fork, which load it again: "
                "multiprocessing.get_context('spawn').Pool()."
            )
        try:
            logits, probabilities, embedding = self._session.run(
                OUTPUTS, {"waveform": padded, "lengths": lengths}, self._options
            )
        except Exception as error:  # ONNX Runtime's errors have no common type of their own
            raise BundleError(f"{self._path}: ONNX Runtime cannot run it ({error}).") from error
        expected = (len(clips), len(self.labels))
        if not logits.shape == probabilities.shape == expected or not np.isfinite(logits).all():
            raise BundleError(
                f"{self._path}: gives logits that are not finite or not {expected}; "
                "export it again."
            )
        return [
            Prediction(
                label=self.labels[int(np.argmax(row))],
                probabilities=dict(zip(self.labels, map(float, chances), strict=True)),
                logits=row,
                embedding=vector,
                duration=len(clip.waveform) / self.bundle.sampling_rate,
                warnings=clip.warnings,
            )
            for row, chances, vector, clip in zip(
                logits, probabilities, embedding, clips, strict=True
            )
        ]


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    precision: str = "auto",
    provider: Provider = "cpu",
    threads: int | None = None,
    low_memory: bool = False,
    verify: bool = True,
) -> Model:
    """Loads a bundle.

    Args:
        source: the bundle's folder, or the name of one that ships (`voxmood-tiny`); or, where there
            is no such folder, `owner/name` or `owner/name@revision` on a hub, of which only the
            files of the precision are fetched (extra `hub`). `@fp32`, `@fp16` or `@int8` may
            follow. None takes the bundle that ships.
        precision: `fp32`, `fp16` or `int8`, unless the name gives it. `auto` takes int8 on a CPU,
            fp16 on CUDA and TensorRT, else fp32; and where the bundle lacks it, whatever it has.
        provider: `cpu`, `cuda` or `openvino`, ONNX Runtime's name of another, or its list of names
            or of (name, options).
        threads: for one run; None takes the processors that this process may use, by its affinity
            and its cgroup's quota.
        low_memory: leave the weights in their mapped file, which other processes share and the
            system can drop, instead of copying them into the layout that products are fastest
            with; the README says what it saves and costs.
        verify: False skips the SHA-256 of the model's files, which takes 0.14 s for 329 MB here.

    Raises:
        MissingFileError: no such bundle, or a file of it is missing.
        MissingExtraError: a hub is needed, and huggingface_hub is not installed.
        BundleError: the bundle is damaged, contradicts itself, or lacks the precision; or the name
            gives one precision and `precision` another.
        ProviderError: the provider is not there or does not start.
    """
    providers = resolve_provider(provider)
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ProviderError(f"threads is {threads!r}; pass a whole number of at least 1, or None.")
    location = locate(source, precision)
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    precision = choose_precision(bundle, location.precision, providers[0][0])
    location.fetch(bundle.precisions[precision].files)
    check_files(folder, bundle.precisions[precision], hashes=verify)
    return Model(
        folder,
        bundle,
        precision,
        provider=providers,
        threads=threads,
        low_memory=low_memory,
    )


def _load_again(arguments: dict[str, Any]) -> Model:
    """Load a model as another one was, in the process that was sent it."""
    return load(**arguments)
