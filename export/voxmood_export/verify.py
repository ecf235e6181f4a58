"""Verification: a bundle, run by the runtime, against the original transformers model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from voxmood import Model
from voxmood.audio import Waveform
from voxmood.comparison import metrics
from voxmood.comparison.bounds import Measure, missed
from voxmood.comparison.compare import measure_difference
from voxmood_export.checkpoint import Checkpoint
from voxmood_export.clips import Clips
from voxmood_export.errors import LogitsError, ShapesError
from voxmood_export.int8.smooth_quant import Outliers

MAX_SQNR_DB = 300.0  # of equal logits it is infinite, which JSON cannot hold
MAX_FLOAT_ERROR = 1e-4  # of a logit, fp32 against transformers


@dataclass(frozen=True)
class Bounds:
    """What every precision must keep on the clips; None asks for nothing."""

    min_agreement: float | None = None
    max_drift: float | None = None
    min_sqnr: float | None = None


@dataclass(frozen=True)
class PlainInt8:
    """What int8 was before linear layers stayed in float for the bounds."""

    bytes: int
    real_time_factor: float
    sqnr_db: float
    max_probability_drift: float | None
    label_agreement: float | None
    ccc: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Verification:
    """What verification of one precision found; the keys of `measured` in `bundle.json`.

    Attributes:
        max_logit_error: the largest difference of a logit from the original model's.
        max_probability_drift: the largest difference of a probability; None of a regression.
        sqnr_db: the signal-to-noise ratio of the centered logits, or of the values.
        label_agreement: the share of clips that get the same label, 0 to 1; None of a regression.
        audio: what the clips are.
        seconds: the duration of all clips together.
        real_time_factor: the time of the model as a share of the clips' duration.
        tuned_on: what int8 was tuned on; None of float precisions.
        weight_only: True of int8 that computes in float, with weights of 8 bits; else None.
        seven_bits: True of int8 with weights of 7 bits, whose products no CPU cuts off; else None.
        products_saturate: True of int8 whose products took the slower exact way, which its time
            includes; else None.
        outliers: what SmoothQuant did to every tensor; None of float precisions.
        without: what int8 was without layers in float, if any layer is.
        in_float: the weights of the layers in float, if any layer is.
        ccc: the concordance correlation coefficient of each value of a regression, by name.
    """

    max_logit_error: float
    max_probability_drift: float | None
    sqnr_db: float
    label_agreement: float | None
    audio: str
    seconds: float
    real_time_factor: float
    tuned_on: str | None = None
    weight_only: bool | None = None
    seven_bits: bool | None = None
    products_saturate: bool | None = None
    outliers: list[Outliers] | None = None
    without: PlainInt8 | None = None
    in_float: list[str] | None = None
    ccc: dict[str, float | None] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `measured` as it is in `bundle.json`."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, measured: Mapping[str, Any]) -> Verification:
        """Return what `to_json` has written."""
        content = _with_none(cls, measured)
        if content["outliers"] is not None:
            content["outliers"] = [Outliers(**each) for each in content["outliers"]]
        if content["without"] is not None:
            content["without"] = PlainInt8(**_with_none(PlainInt8, content["without"]))
        return cls(**content)


def _with_none(kind: type, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names of a dataclass's fields; what `to_json` left out is None."""
    return {each.name: measured.get(each.name) for each in fields(kind)}


def reference_logits(
    checkpoint: Checkpoint, waveforms: Sequence[Waveform]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the original model's logits [labels] of each clip, as its own extractor prepares it."""
    rate = checkpoint.extractor.sampling_rate
    for waveform in waveforms:
        inputs = checkpoint.extractor(waveform, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            yield checkpoint.model(inputs.input_values)[0].numpy()


def verify(
    model: Model, reference: list[npt.NDArray[np.float32]], clips: Clips, bounds: Bounds
) -> tuple[Verification, list[Measure]]:
    """Compare a loaded bundle with the logits of the original model.

    Args:
        model: the bundle in one precision.
        reference: the original model's logits of each clip, [labels].
        clips: what both models hear.
        bounds: what the bundle must keep.

    Returns:
        What goes into the bundle, and the measures that miss their bounds.

    Raises:
        ShapesError: the logits have another shape than the original model's.
        LogitsError: fp32 differs from the original model by more than `MAX_FLOAT_ERROR` allows.
        BundleError: a logit is not finite, which the runtime refuses.
    """
    rate = model.bundle.sampling_rate
    seconds = sum(map(len, clips.waveforms)) / rate
    model.predict(clips.waveforms[0], sampling_rate=rate)  # the first run is slower
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
    task, names = model.bundle.task, model.labels
    error = float(np.abs(logits - np.stack(reference)).max())
    limit = MAX_FLOAT_ERROR * max(1.0, float(np.abs(np.stack(reference)).max()))
    if model.precision == "fp32" and error > limit:
        raise LogitsError(
            f"fp32: a logit is off by {error:.2e} from the original model; the limit is "
            f"{limit:.0e}."
        )
    original = np.stack(reference)
    expected = _numbers(original, task)
    numbers = np.array([list(prediction.numbers.values()) for prediction in predictions])
    measures = measure_difference(
        (original, logits), (expected, numbers), task, names, **asdict(bounds)
    )
    ratio = metrics.sqnr(original, logits, task)
    verification = Verification(
        max_logit_error=error,
        sqnr_db=round(float(np.clip(ratio, -MAX_SQNR_DB, MAX_SQNR_DB)), 2),
        audio=clips.description,
        seconds=round(seconds, 1),
        real_time_factor=round(taken / seconds, 4),
        **_decisions((original, logits), (expected, numbers), task, names),
    )
    return verification, missed(measures)


def _numbers(logits: npt.NDArray[np.float32], task: str) -> npt.NDArray[np.float32]:
    """Return what the graph should make of logits [clips, labels]: probabilities or values."""
    if task == "regression":
        return logits
    values = torch.from_numpy(logits)
    found = values.softmax(-1) if task == "classification" else values.sigmoid()
    answers: npt.NDArray[np.float32] = found.numpy()
    return answers


def _decisions(
    logits: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    numbers: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    task: str,
    names: Sequence[str],
) -> dict[str, Any]:
    """Return those fields of `Verification` that depend on the task."""
    if task == "regression":
        columns = zip(names, *(each.T for each in logits), strict=True)
        ccc = {name: metrics.ccc(*pair) for name, *pair in columns}
        return {"max_probability_drift": None, "label_agreement": None, "ccc": ccc}
    return {
        "max_probability_drift": metrics.drift(*numbers)[0],
        "label_agreement": metrics.agreement(*logits, task),
    }
