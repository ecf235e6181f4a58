"""Verification: the bundle, through the runtime, against the original transformers model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from voxmood import Model
from voxmood.audio import Waveform, read_waveform
from voxmood.audio.listing import find_recordings
from voxmood.comparison import metrics as statistics
from voxmood.comparison.bounds import Measure, missed
from voxmood.comparison.compare import measure_difference
from voxmood_export.checkpoint import Checkpoint
from voxmood_export.errors import AxesError, NamesError, ShapesError, ValuesError
from voxmood_export.signals import speech_like

MAX_FLOAT_ERROR = 1e-4  # of a logit, fp32 against transformers
MAX_CALIBRATION_CLIPS = 16


@dataclass(frozen=True)
class Clips:
    """What the models are compared on.

    Attributes:
        description: says in the bundle what it was.
        waveforms: float32, at the checkpoint's rate.
        calibration: others of the same kind, to tune the int8 graph on.
        recorded: whether these are recordings and not generated signals.
    """

    description: str
    waveforms: list[Waveform]
    calibration: list[Waveform]
    recorded: bool


def generated_clips(rate: int) -> Clips:
    """Eight speech-like signals of 0.5 to 8 s."""
    seconds = (0.5, 1.0, 1.7, 2.3, 3.1, 4.0, 5.5, 8.0)
    clips = [speech_like(length, rate, seed) for seed, length in enumerate(2 * seconds)]
    count = len(seconds)
    description = f"{count} generated speech-like signals of 0.5 to 8 s"
    return Clips(description, clips[:count], clips[count:], recorded=False)


def recorded_clips(folder: Path, rate: int, limit: int, max_seconds: float = 30.0) -> Clips:
    """Recordings of a folder and its sub-folders, evenly picked from their sorted names.

    Raises:
        MissingFileError: there is no such folder.
        AudioError: there are no recordings in it, or one cannot be read.
    """
    paths = [recording.path for recording in find_recordings(folder)]
    picked = _evenly(paths, limit)
    others = _evenly([path for path in paths if path not in picked], MAX_CALIBRATION_CLIPS)

    def read(chosen: list[Path]) -> list[Waveform]:
        return [read_waveform(path, rate=rate, max_seconds=max_seconds) for path in chosen]

    return Clips(
        f"{len(picked)} recordings of the folder {folder.resolve().name}",
        read(picked),
        read(others) or generated_clips(rate).calibration,
        recorded=bool(others),
    )


def _evenly(paths: list[Path], limit: int) -> list[Path]:
    count = min(limit, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def reference_logits(checkpoint: Checkpoint, clips: Clips) -> Iterator[npt.NDArray[np.float32]]:
    """Logits [labels] of the original model, fed clip by clip by its own feature extractor."""
    rate = checkpoint.extractor.sampling_rate
    for waveform in clips.waveforms:
        inputs = checkpoint.extractor(waveform, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            yield checkpoint.model(inputs.input_values).logits[0].numpy()


def check_contract(path: Path, precision: str, labels: int) -> None:
    """Checks names and axes of a graph.

    Raises:
        NamesError: an input or output is called otherwise than the contract says.
        AxesError: an axis is free or fixed otherwise than the contract says.
    """
    graph = onnx.load(path, load_external_data=False).graph
    batch: Any = 1 if precision == "int8" else "batch"
    expected = {
        "waveform": [batch, "samples"],
        "lengths": [batch],
        "logits": [batch, labels],
        "probabilities": [batch, labels],
        "embedding": [batch, None],  # None: any fixed width
    }
    found = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    if list(found) != list(expected):
        raise NamesError(f"{path.name}: has {', '.join(found)}; expected {', '.join(expected)}.")
    for name, axes in expected.items():
        fits = len(found[name]) == len(axes) and all(
            isinstance(there, int) if wanted is None else there == wanted
            for there, wanted in zip(found[name], axes, strict=True)
        )
        if not fits:
            raise AxesError(f"{path.name}: {name} is {found[name]}; expected {axes}.")


@dataclass(frozen=True)
class Bounds:
    """What a small precision must keep on the clips; None asks for nothing."""

    min_agreement: float | None = None
    max_drift: float | None = None
    min_sqnr: float | None = None


def measure(
    model: Model, reference: list[npt.NDArray[np.float32]], clips: Clips, bounds: Bounds
) -> tuple[dict[str, Any], list[Measure]]:
    """Compares a loaded bundle with the reference's logits.

    Returns:
        What goes into the bundle, and the bounds that were missed.

    Raises:
        ShapesError: the logits are of another shape.
        ValuesError: fp32 differs from the reference by more than `MAX_FLOAT_ERROR` allows.
        BundleError: a logit is not finite; the runtime refuses it.
    """
    rate = model.bundle.sampling_rate
    seconds = sum(map(len, clips.waveforms)) / rate
    begin = time.perf_counter()
    predictions = [model.predict(waveform, sampling_rate=rate) for waveform in clips.waveforms]
    taken = time.perf_counter() - begin
    for expected, prediction in zip(reference, predictions, strict=True):
        if prediction.logits.shape != expected.shape:
            raise ShapesError(
                f"{model.precision}: logits of shape {prediction.logits.shape} where the original "
                f"gives {expected.shape}."
            )
    logits = np.stack([prediction.logits for prediction in predictions])
    probabilities = np.array([list(each.probabilities.values()) for each in predictions])
    error = float(np.abs(logits - np.stack(reference)).max())
    limit = MAX_FLOAT_ERROR * max(1.0, float(np.abs(np.stack(reference)).max()))
    if model.precision == "fp32" and error > limit:
        raise ValuesError(
            f"fp32: a logit is off by {error:.2e} from the original model; the limit is "
            f"{limit:.0e}."
        )
    expected_probabilities = torch.from_numpy(np.stack(reference)).softmax(-1).numpy()
    measures = measure_difference(
        reference, logits, expected_probabilities, probabilities, **asdict(bounds)
    )
    return {
        "max_logit_error": error,
        "max_probability_drift": statistics.drift(expected_probabilities, probabilities)[0],
        "sqnr_db": round(statistics.sqnr(reference, logits), 2),
        "label_agreement": statistics.agreement(reference, logits),
        "audio": clips.description,
        "seconds": round(seconds, 1),
        "real_time_factor": round(taken / seconds, 4),
    }, missed(measures)
