"""The model: a bundle that was loaded in one precision, and labels recordings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from voxmood.audio import AudioReader, AudioSource, Channel, Waveform
from voxmood.audio.channels import check_channel
from voxmood.audio.search import SpeechSearch
from voxmood.audio.sources import name_of
from voxmood.audio.speech import speech_samples
from voxmood.audio.stretches import Detectors, cutters
from voxmood.audio.windows import Lanes, Piece, Windows
from voxmood.bundle.description import (
    DESCRIPTION,
    OUTPUTS,
    Bundle,
    check_files,
    model_file,
    read_bundle,
)
from voxmood.bundle.graph_file import GraphFile, read_graph_file
from voxmood.bundle.locate import locate
from voxmood.engine.cuda_graphs import CudaGraphs, captures_graphs
from voxmood.engine.precision import choose_precision
from voxmood.engine.session import (
    Provider,
    check_int8_matmuls,
    create_session,
    nodes_by_provider,
    resolve_provider,
    run_options,
)
from voxmood.errors import (
    AudioError,
    BundleError,
    CalibrationError,
    ForkError,
    ProviderError,
)
from voxmood.results import NO_SPEECH, SILENT, UNLIKE, Prediction, Segment, Span
from voxmood.spans import Given, label_spans
from voxmood.timeline import Timeline

INPUTS = ["waveform", "lengths"]
ONE_SOURCE = (str, os.PathLike, bytes, bytearray, memoryview, Mapping)
"""Iterable types that `predict_batch` takes for one recording by mistake."""

MAX_THREADS = 1024  # ONNX Runtime starts as many as it is told

BATCH_CLIPS = 16
BATCH_SECONDS = 60.0  # including padding; limits the memory of one run
LONG_SECONDS = 30.0  # `predict` labels longer recordings window by window
LONG_WINDOW_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording that is short enough for one pass: float32 [samples], and its warnings."""

    waveform: Waveform
    warnings: tuple[str, ...] = ()
    channel: int | None = None


class Model:
    """A bundle in one precision, ready to run; `load` makes it.

    Several threads may share a model. A process that was forked after the model was loaded cannot
    use it (`ForkError`). Where a model is copied, or sent to another process, the copy is loaded
    again from the same folder.

    Attributes:
        bundle: the description of the bundle.
        precision: the precision that was loaded, `fp32`, `fp16` or `int8`.
        min_confidence: the least confidence of an answer that is not unsure; None if `load` was not
            given one.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        precision: str,
        *,
        provider: Provider,
        device: str | None,
        threads: int | None,
        low_memory: bool,
        min_confidence: float | None,
    ) -> None:
        self._loaded = {
            "source": folder.absolute(),
            "precision": precision,
            "provider": provider,
            "device": device,
            "threads": threads,
            "low_memory": low_memory,
            "min_confidence": min_confidence,
        }
        self.bundle = bundle
        self.precision = precision
        self.min_confidence = min_confidence
        self._path = path = folder / model_file(precision)
        graph = read_graph_file(path)
        self._check_graph(path, graph)
        if precision == "int8":
            check_int8_matmuls(path, graph)
        self._process = os.getpid()
        self._options = run_options(low_memory)
        self._session = create_session(
            path,
            providers=resolve_provider(provider, device),
            device=device,
            threads=threads,
            config=bundle.session_options,
            int8=precision == "int8",
            seven_bits=bundle.precisions[precision].seven_bits,
            low_memory=low_memory,
        )
        self._cuda_graphs = (
            CudaGraphs(self._session, OUTPUTS[bundle.task], bundle.sampling_rate)
            if captures_graphs(self._session)
            else None
        )

    def _check_graph(self, path: Path, graph: GraphFile) -> None:
        if graph.inputs != INPUTS or tuple(graph.outputs) != OUTPUTS[self.bundle.task]:
            raise BundleError(
                f"{path}: its inputs and outputs are not those of a voxmood graph; export it again."
            )
        data = self.bundle.precisions[self.precision].files.get(f"{path.name}.data")
        if graph.data_bytes > (data.bytes if data else 0):
            raise BundleError(f"{path}: its weights reach beyond its data; export it again.")
        for key, value in self.bundle.metadata().items():
            if graph.metadata.get(key) != value:
                raise BundleError(
                    f"{path}: its {key} is {graph.metadata.get(key)!r}, but {value!r} in "
                    f"{DESCRIPTION}; the files are not of one bundle. Export it again."
                )

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[dict[str, Any]]]:
        """Return how to load the same model in another process, or as a copy."""
        return _load_again, (self._loaded,)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, or the names of a regression's values, in the order of the logits."""
        return self.bundle.labels

    @property
    def judges(self) -> bool:
        """Whether its answers say that they are unsure, or that they are not."""
        return self.bundle.calibration is not None or self.min_confidence is not None

    @property
    def nodes(self) -> dict[str, int]:
        """The number of nodes of the graph that run on each provider, by ONNX Runtime's names.

        It is empty where ONNX Runtime is older than 1.24, which does not report this.
        """
        return nodes_by_provider(self._session)

    @overload
    def predict(
        self,
        source: AudioSource,
        *,
        sampling_rate: int | None = None,
        channel: int | Literal["mix"] = "mix",
    ) -> Prediction: ...

    @overload
    def predict(
        self, source: AudioSource, *, sampling_rate: int | None = None, channel: Literal["each"]
    ) -> list[Prediction]: ...

    def predict(
        self,
        source: AudioSource,
        *,
        sampling_rate: int | None = None,
        channel: Channel = "mix",
    ) -> Prediction | list[Prediction]:
        """Label one recording.

        A recording of up to 30 s is labeled in one pass. A longer one is cut into windows of 10 s,
        and the logits and embeddings of the windows are averaged. Each window counts by how much of
        it is not silent, or by its length if all of the recording is silent. The memory that this
        takes does not grow with the length of the recording.

        Args:
            source: a path, the bytes of a file, or a binary file object, which is read from its
                beginning; or samples (floats from -1 to 1, or int16 or int32 PCM), [samples] or
                [frames, channels], as an array, a tensor or a list, together with `sampling_rate`,
                or as `(samples, rate)` or `{"array": samples, "sampling_rate": rate}`.
            sampling_rate: the sampling rate of samples, in Hz; files state their own.
            channel: what of several channels to label: `mix`, their mean; the number of one, from
                1; or `each`, every one by itself, while the recording is decoded once.

        Returns:
            The prediction, or for `each` a list with one for each channel. `voxmood.audio` lists
            which audio gets a warning and which an error.

        Raises:
            AudioError: the source is not audio, is empty or too short, has unusable samples, or
                does not have the channel.
            MissingFileError: the path does not exist.
        """
        answers = self.predict_channels(source, sampling_rate=sampling_rate, channel=channel)
        return answers if channel == "each" else answers[0]

    def predict_channels(
        self,
        source: AudioSource,
        *,
        sampling_rate: int | None = None,
        channel: Channel = "each",
    ) -> list[Prediction]:
        """Label one recording as `predict` does, and always return a list.

        The arguments and errors are those of `predict`.
        """
        read = self._read(source, sampling_rate, channel)
        return [self._run([each])[0] if isinstance(each, Clip) else each for each in read]

    def timeline(
        self,
        source: AudioSource,
        window: float = 5.0,
        hop: float = 1.0,
        *,
        sampling_rate: int | None = None,
        channel: Channel = "mix",
        speech: bool | Detectors = False,
        run_silence: bool = False,
    ) -> Timeline:
        """Label a recording of any length, window by window, or only where somebody speaks.

        The recording is decoded and resampled in blocks, so that memory does not grow with its
        length. The last segment ends where the recording ends and may be shorter than the others.
        A rest that is too short for the model (25 ms) is left out.

        Args:
            source: the recording, as `predict` takes it.
            window: the length of a segment, in seconds.
            hop: the time from the start of one segment to the start of the next, in seconds.
            sampling_rate: the sampling rate of samples, in Hz; files state their own.
            channel: which channel, as `predict` takes it; of `each`, the segments that are known at
                the same time come in the order of the channels.
            speech: label stretches of speech of one second up to `window` instead of windows, and
                nothing else (extra `vad`). A function without arguments stands for another detector
                than Silero's: it returns a function that takes the next 32 ms of the waveform,
                float32 [samples], and returns the probability of speech.
            run_silence: also run the model on silent windows. Otherwise their label is None.

        Returns:
            An iterator that yields each `Segment` as soon as it is known. It raises AudioError if
            the recording turns out to be empty or too short, or to have unusable samples.

        Raises:
            AudioError: the source is not audio, or the model does not take such a window.
            MissingFileError: the path does not exist.
            MissingExtraError: speech is wanted, and the extra `vad` is not installed.
        """
        lanes = Lanes(cutters(window, hop, speech, self.bundle))
        reader = self._reader(source, sampling_rate, channel)
        label = partial(self.label_window, run_silence=run_silence)
        return Timeline(reader, lanes, label, self._check_length)

    def predict_segments(
        self,
        source: AudioSource,
        segments: Iterable[Span | tuple[float, float]],
        *,
        sampling_rate: int | None = None,
        channel: Channel = "mix",
    ) -> list[Segment]:
        """Label given stretches of a recording, each as `predict` labels it cut out.

        The recording is decoded once, and memory does not grow with its length. The stretches may
        overlap and come in any order. `voxmood.annotations.reading.read_spans` reads them from
        CSV, RTTM, TextGrid and ELAN files.

        Args:
            source: the recording, as `predict` takes it.
            segments: the stretches: `Span`, or (start, end) in seconds.
            sampling_rate: the sampling rate of samples, in Hz; files state their own.
            channel: the channel of stretches that name none, as `predict` takes it.

        Returns:
            A segment for each stretch, in their order; of `each`, one for each channel. Its `error`
            says why a stretch has no answer: it reaches beyond the end, is shorter than the model
            takes or reversed, or its channel is not there.

        Raises:
            AudioError: the source is not audio, is empty, or has unusable samples; or a segment is
                something else.
            MissingFileError: the path does not exist.
        """
        given = self.predict_spans(
            source,
            [_as_span(each) for each in segments],
            sampling_rate=sampling_rate,
            channel=channel,
        )
        return [each.segment() for each in given]

    def predict_spans(
        self,
        source: AudioSource,
        spans: Sequence[Span],
        *,
        sampling_rate: int | None = None,
        channel: Channel = "mix",
    ) -> list[Given]:
        """Label stretches as `predict_segments` does, and return their whole predictions.

        The arguments and errors are those of `predict_segments`.
        """
        reader = AudioReader(
            source,
            rate=self.bundle.sampling_rate,
            sampling_rate=sampling_rate,
            chosen=[check_channel(channel)],
            optional=sorted({span.channel for span in spans if span.channel is not None}),
        )
        return label_spans(
            reader,
            spans,
            channel,
            partial(_Labeling, self),
            rate=self.bundle.sampling_rate,
            min_samples=self.bundle.min_samples,
        )

    @overload
    def predict_batch(
        self,
        sources: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        channel: int | Literal["mix"] = "mix",
    ) -> list[Prediction]: ...

    @overload
    def predict_batch(
        self,
        sources: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        channel: Literal["each"],
    ) -> list[list[Prediction]]: ...

    def predict_batch(
        self,
        sources: Iterable[AudioSource],
        *,
        sampling_rate: int | None = None,
        channel: Channel = "mix",
    ) -> list[Prediction] | list[list[Prediction]]:
        """Label several recordings; each gets the answer that `predict` would give it.

        Float models run clips of similar length together. An int8 model runs them one by one: it
        quantizes with one range for a whole batch, so the clips would change each other's answers.

        Args:
            sources: the recordings, each as `predict` takes it.
            sampling_rate: the sampling rate of samples, in Hz; files state their own.
            channel: which channel, as `predict` takes it.

        Returns:
            The predictions, in the order of the sources; of `each`, a list for each source.

        Raises:
            AudioError: the first source that fails cannot be labeled.
            MissingFileError: the path of the first source that fails does not exist.
        """
        if isinstance(sources, ONE_SOURCE) or hasattr(sources, "read"):
            raise AudioError(
                f"{name_of(sources)}: is one recording; use predict, or put it into a list."
            )
        if not isinstance(sources, Iterable):
            raise AudioError(f"a {type(sources).__name__} is no list of recordings.")
        answers = self._predict_all(sources, sampling_rate, channel)
        return answers if channel == "each" else [answer for (answer,) in answers]

    def _predict_all(
        self, sources: Iterable[AudioSource], sampling_rate: int | None, channel: Channel
    ) -> list[list[Prediction]]:
        """Return the predictions of the channels of each source."""
        if self.precision == "int8":
            return [
                self.predict_channels(source, sampling_rate=sampling_rate, channel=channel)
                for source in sources
            ]
        predictions: list[list[Prediction]] = []
        remaining = iter(sources)
        # A few batches at a time: enough to sort by length, without all audio in memory.
        while group := list(islice(remaining, 4 * BATCH_CLIPS)):
            read = [self._read(source, sampling_rate, channel) for source in group]
            clips = [each for one in read for each in one if isinstance(each, Clip)]
            answers = dict[Clip, Prediction]()
            for batch in self._batches(clips):
                answers |= zip(batch, self._run(batch), strict=True)
            predictions += [
                [answers[each] if isinstance(each, Clip) else each for each in one] for one in read
            ]
        return predictions

    def label_window(
        self,
        start: int,
        waveform: Waveform,
        channel: int | None = None,
        *,
        run_silence: bool = False,
    ) -> Segment:
        """Label a window of a recording.

        Args:
            start: where the window begins in the recording, in samples at the model's rate.
            waveform: the window, float32 [samples] at the model's rate.
            channel: the number of its channel; None is the mean of all.
            run_silence: run the model also if the window is silent.
        """
        rate = self.bundle.sampling_rate
        times = start / rate, (start + len(waveform)) / rate
        silent = not speech_samples(waveform, rate)
        if silent and not run_silence:
            values: dict[str, float] | None = {} if self.bundle.task == "regression" else None
            return Segment(*times, None, None, silent=True, values=values, channel=channel)
        prediction = self._run([Clip(waveform)])[0]
        return Segment(
            *times,
            label=prediction.label,
            probabilities=prediction.probabilities,
            silent=silent,
            values=prediction.values,
            channel=channel,
            unsure=prediction.unsure,
            novelty=prediction.novelty,
        )

    def _check_length(self, reader: AudioReader) -> None:
        """Raise AudioError if a recording that was read is shorter than the model takes."""
        rate = self.bundle.sampling_rate
        if reader.samples < self.bundle.min_samples:
            raise AudioError(
                f"{reader.name}: {reader.samples / rate:.4f} s is shorter than the "
                f"{self.bundle.min_samples / rate:.4f} s that the model needs."
            )

    def _batches(self, clips: Sequence[Clip]) -> Iterator[list[Clip]]:
        limit = BATCH_SECONDS * self.bundle.sampling_rate
        batch: list[Clip] = []
        for clip in sorted(clips, key=lambda clip: len(clip.waveform)):
            # The lengths ascend, so the newest clip is what all are padded to.
            if len(batch) == BATCH_CLIPS or (len(batch) + 1) * len(clip.waveform) > limit:
                if batch:
                    yield batch
                batch = []
            batch.append(clip)
        if batch:
            yield batch

    def _reader(
        self, source: AudioSource, sampling_rate: int | None, channel: Channel
    ) -> AudioReader:
        return AudioReader(
            source,
            rate=self.bundle.sampling_rate,
            sampling_rate=sampling_rate,
            chosen=[check_channel(channel)],
        )

    def _read(
        self, source: AudioSource, sampling_rate: int | None, channel: Channel
    ) -> list[Clip | Prediction]:
        """Return for each channel the clip, or the answer where it needed several passes."""
        reader = self._reader(source, sampling_rate, channel)
        labelings: list[_Labeling] = []
        for tracks in reader.tracks():
            labelings = labelings or [_Labeling(self, number) for number in reader.numbers]
            for labeling, samples in zip(labelings, tracks, strict=True):
                labeling.push(samples)
        self._check_length(reader)
        return [labeling.close(reader.warnings) for labeling in labelings]

    def _probabilities(self, logits: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Return what the graph would make of logits [labels]: probabilities, if it has any."""
        if self.bundle.task == "regression":
            return None
        logits = logits / self.bundle.temperature
        if self.bundle.task == "multilabel":
            return np.asarray(1 / (1 + np.exp(-logits)))
        exponents = np.exp(logits - logits.max())
        return np.asarray(exponents / exponents.sum())

    def _prediction(
        self,
        logits: npt.NDArray[np.float32],
        probabilities: npt.NDArray[Any] | None,
        embedding: npt.NDArray[np.float32],
        *,
        duration: float,
        warnings: tuple[str, ...],
        channel: int | None,
    ) -> Prediction:
        """Return the prediction of logits [labels], probabilities [labels] and embedding."""
        regression = probabilities is None
        numbers = logits if probabilities is None else probabilities
        named = dict(zip(self.labels, map(float, numbers), strict=True))
        calibration = self.bundle.calibration
        novelty = None
        if calibration and calibration.domain:
            novelty = calibration.domain.novelty(embedding)
            warnings += (UNLIKE,) * (novelty > 1)
        return Prediction(
            label=None if regression else self.labels[int(np.argmax(logits))],
            probabilities=None if regression else named,
            values=named if regression else None,
            logits=logits,
            embedding=embedding,
            duration=duration,
            warnings=warnings,
            channel=channel,
            unsure=self._unsure(named, warnings) if self.judges else None,
            novelty=novelty,
            calibration=calibration,
        )

    def _unsure(self, numbers: Mapping[str, float], warnings: Sequence[str]) -> bool:
        """Return whether an answer should rather not be used; see `Prediction.unsure`."""
        if not {SILENT, NO_SPEECH, UNLIKE}.isdisjoint(warnings):
            return True
        if self.min_confidence is not None:
            return self._confidence(numbers) < self.min_confidence
        calibration = self.bundle.calibration
        if calibration is None or not calibration.thresholds:
            return False
        return len(calibration.candidates(numbers)) > 1

    def _confidence(self, probabilities: Mapping[str, float]) -> float:
        """Return the probability of the answer; of several answers, the least."""
        if self.bundle.task == "multilabel":
            return min(max(chance, 1 - chance) for chance in probabilities.values())
        return max(probabilities.values())

    def _check_process(self) -> None:
        """Check that this is the process in which the model was loaded.

        Raises:
            ForkError: it is a fork of that process, where its threads do not exist.
        """
        if os.getpid() != self._process:
            raise ForkError(
                "this model was loaded before this process was forked, and its threads were not "
                "copied; load it in the new process, or start processes without a fork, which load "
                "it again by themselves: multiprocessing.get_context('spawn').Pool()."
            )

    def _run(self, clips: list[Clip]) -> list[Prediction]:
        lengths = np.array([len(clip.waveform) for clip in clips], np.int64)
        padded = np.zeros((len(clips), lengths.max()), np.float32)
        for row, clip in zip(padded, clips, strict=True):
            row[: len(clip.waveform)] = clip.waveform
        self._check_process()
        try:
            if self._cuda_graphs:
                outputs = self._cuda_graphs.run(padded, lengths)
            else:
                outputs = self._session.run(
                    OUTPUTS[self.bundle.task],
                    {"waveform": padded, "lengths": lengths},
                    self._options,
                )
        except Exception as error:  # ONNX Runtime's errors have no common type of their own
            raise BundleError(f"{self._path}: ONNX Runtime cannot run it ({error}).") from error
        logits, *between, embedding = outputs
        expected = (len(clips), len(self.labels))
        if any(each.shape != expected for each in (logits, *between)) or not np.all(
            np.isfinite(logits)
        ):
            raise BundleError(
                f"{self._path}: its answers are not finite, or their shape is not {expected}; "
                "export it again."
            )
        probabilities = between[0] if between else [None] * len(clips)
        return [
            self._prediction(
                row,
                chances,
                vector,
                duration=len(clip.waveform) / self.bundle.sampling_rate,
                warnings=clip.warnings,
                channel=clip.channel,
            )
            for row, chances, vector, clip in zip(
                logits, probabilities, embedding, clips, strict=True
            )
        ]


def _as_span(segment: object) -> Span:
    if isinstance(segment, Span):
        return segment
    if isinstance(segment, (tuple, list)) and len(segment) == 2:
        start, end = segment
        if isinstance(start, Real) and isinstance(end, Real):
            return Span(float(start), float(end))
    raise AudioError(f"a segment is {segment!r}; pass (start, end) in seconds, or a Span.")


class _Labeling:
    """The labeling of a waveform that arrives in blocks, as `Model.predict` describes it.

    Args:
        model: the model.
        channel: the number of the waveform's channel; None is the mean of all.
    """

    def __init__(self, model: Model, channel: int | None) -> None:
        model._check_process()  # before the search for speech, which has threads as well
        self._model = model
        self._channel = channel
        self._samples = 0
        self._begun: list[Waveform] = []
        self._windows: Windows | None = None  # once it is too long for one pass
        self._parts: list[Prediction] = []
        self._speech: list[int] = []
        self._search = SpeechSearch(model.bundle.sampling_rate) if model.judges else None

    def push(self, samples: Waveform) -> None:
        """Add samples, and run the windows that they complete."""
        bundle = self._model.bundle
        rate = bundle.sampling_rate
        self._samples += len(samples)
        if self._search:
            self._search.push(samples)
        self._begun.append(samples)
        if self._windows is None:
            if self._samples <= min(LONG_SECONDS * rate, bundle.max_samples):
                return
            window = min(LONG_WINDOW_SECONDS, bundle.max_samples / rate)
            self._windows = Windows(window, window, bundle)
        begun, self._begun = self._begun, []
        for each in begun:
            self._run(self._windows.push(each))

    def close(self, warnings: tuple[str, ...] = ()) -> Clip | Prediction:
        """Return the answer, or the clip if all of it takes one pass, with warnings about it."""
        model = self._model
        if self._windows is None:
            waveform = np.concatenate(self._begun)
            if not speech_samples(waveform, model.bundle.sampling_rate):
                warnings = (*warnings, SILENT)
            elif self._search and self._search.failed:
                warnings = (*warnings, NO_SPEECH)
            return Clip(waveform, warnings, self._channel)
        self._run(self._windows.close())
        weights: Sequence[float] = self._speech
        if not any(weights):
            weights, warnings = [part.duration for part in self._parts], (*warnings, SILENT)
        elif self._search and self._search.failed:
            warnings = (*warnings, NO_SPEECH)
        logits = np.average([part.logits for part in self._parts], axis=0, weights=weights)
        embedding = np.average([part.embedding for part in self._parts], axis=0, weights=weights)
        return model._prediction(
            logits.astype(np.float32),
            model._probabilities(logits),
            embedding.astype(np.float32),
            duration=self._samples / model.bundle.sampling_rate,
            warnings=warnings,
            channel=self._channel,
        )

    def answer(self) -> Prediction:
        """Return the answer."""
        closed = self.close()
        return self._model._run([closed])[0] if isinstance(closed, Clip) else closed

    def _run(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._parts += self._model._run([Clip(piece.waveform)])
            rate = self._model.bundle.sampling_rate
            self._speech.append(speech_samples(piece.waveform, rate))


def load(
    source: str | os.PathLike[str] | None = None,
    *,
    precision: str = "auto",
    provider: Provider = "cpu",
    device: str | None = None,
    threads: int | None = None,
    low_memory: bool = False,
    verify: bool = True,
    min_confidence: float | None = None,
) -> Model:
    """Load a bundle.

    Args:
        source: the folder of a bundle; the name of a bundle that ships (`voxmood-small`); or, where
            there is no such folder, `owner/name` or `owner/name@revision` on a hub, from which only
            the files of one precision are fetched (extra `hub`). `@fp32`, `@fp16` or `@int8` may
            follow the name. None means the bundle that ships.
        precision: `fp32`, `fp16` or `int8`, if the name does not give it. `auto` means int8 on a
            CPU, or fp32 if the export measured that int8 is no faster; fp16 on CUDA and TensorRT,
            else fp32; and where the bundle lacks that, what it has.
        provider: `cpu`, `cuda` or `openvino`; `webgpu`, `tensorrt-rtx`, `qnn` or NAME for an
            installed plug-in `onnxruntime-ep-NAME`; ONNX Runtime's name of another execution
            provider; or, as ONNX Runtime takes it, a list of names or of (name, options).
        device: the type of hardware that the provider must run on, `cpu`, `gpu` or `npu`. None
            means what CUDA or OpenVINO take by default, or the first device that a plug-in offers.
        threads: the number of threads for one run; None means as many as the process may use
            processors, by its affinity and the quota of its cgroup.
        low_memory: whether to leave the weights in their mapped file, which other processes share
            and the system can drop. Otherwise they are copied into the layout in which matmuls are
            fastest. `runtime/README.md` says what this saves and costs.
        verify: whether to compare the SHA-256 of the model's files; it took 0.14 s for 329 MB.
        min_confidence: the least probability of the answer, from 0 to 1, below which it is unsure.
            None leaves that to the sets of 90 % of a calibrated bundle; see `Prediction.unsure`.

    Raises:
        MissingFileError: the bundle does not exist, or one of its files is missing.
        MissingExtraError: the bundle is on a hub, and huggingface_hub is not installed.
        BundleError: the bundle is damaged, contradicts itself, or lacks the precision; or the name
            gives one precision and `precision` another one.
        ProviderError: the provider is not installed, does not start or has no such device.
        CalibrationError: the confidence is not from 0 to 1, or the model gives no probabilities.
    """
    providers = resolve_provider(provider, device)
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MAX_THREADS):
        raise ProviderError(
            f"threads is {threads!r}; pass a whole number from 1 to {MAX_THREADS}, or None."
        )
    location = locate(source, precision)
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    if min_confidence is not None:
        _check_confidence(min_confidence, bundle)
    precision = choose_precision(bundle, location.precision, providers[0][0])
    location.fetch(bundle.precisions[precision].files)
    check_files(folder, bundle.precisions[precision], hashes=verify)
    return Model(
        folder,
        bundle,
        precision,
        provider=providers,
        device=device,
        threads=threads,
        low_memory=low_memory,
        min_confidence=min_confidence,
    )


def _check_confidence(confidence: float, bundle: Bundle) -> None:
    if not isinstance(confidence, Real) or not 0 <= confidence <= 1:
        raise CalibrationError(f"min_confidence is {confidence!r}; pass a number from 0 to 1.")
    if bundle.task == "regression":
        raise CalibrationError(
            f"{bundle.name}: gives values and no probabilities; leave out min_confidence."
        )


def _load_again(arguments: dict[str, Any]) -> Model:
    """Load a model with the arguments that another one was loaded with."""
    return load(**arguments)
