"""What the model answers for a recording, and for each segment of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model answers for a recording.

    Attributes:
        label: the most probable label.
        probabilities: the probability of each label, in the order of the logits; they sum to 1 and
            are not calibrated.
        logits: float32 [labels]. For a recording longer than 30 s, the mean of the logits of its
            windows, weighted by how much of each window is not silent.
        embedding: float32 [projector width], the pooled vector before the classifier. For a
            recording longer than 30 s, the mean with the same weights. Since the classifier is
            linear, this mean leads to the logits of this prediction.
        duration: the length of the recording in seconds.
        warnings: what is unusual about the recording, such as a missing end.
    """

    label: str
    probabilities: Mapping[str, float]
    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    duration: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """What the model answers for a window of a recording.

    Attributes:
        start: where the window begins, in seconds from the beginning of the audio.
        end: where the window ends, in seconds from the beginning of the audio.
        label: the most probable label.
        probabilities: the probability of each label, in the order of the logits; they sum to 1 and
            are not calibrated.
        silent: whether the window never gets louder than -60 dBFS
            (`voxmood.audio.speech.GATE_DBFS`). The model answers for silence, too, but its label
            and probabilities then mean nothing.
    """

    start: float
    end: float
    label: str
    probabilities: Mapping[str, float]
    silent: bool


def rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Return probabilities with the six decimals that JSON output shows."""
    return {label: round(value, 6) for label, value in probabilities.items()}


def segment_fields(segment: Segment) -> dict[str, Any]:
    """Return the fields of a segment as JSON output shows them."""
    return {
        "start": round(segment.start, 4),
        "end": round(segment.end, 4),
        "label": segment.label,
        "probabilities": rounded(segment.probabilities),
        "silent": segment.silent,
    }
