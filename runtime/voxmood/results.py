"""What the model says: of a recording, and of each segment of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of a recording.

    Attributes:
        label: the most probable label.
        probabilities: by label, in the model's order; they sum to 1 and are not calibrated.
        logits: float32 [labels]. Of a recording longer than 30 s, the mean of those of its
            windows, weighted by how much of each is not silent.
        embedding: float32 [projector width], the pooled vector before the classifier. Of a long
            recording, its mean by the same weights; the classifier being linear, it gives the
            logits of this prediction.
        duration: of the recording, in seconds.
        warnings: what a careful listener would want to know of the recording.
    """

    label: str
    probabilities: Mapping[str, float]
    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    duration: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """What the model says of a window.

    Attributes:
        start: of the window, in seconds from the beginning of the audio.
        end: of the window, in seconds.
        label: the most probable label.
        probabilities: by label, in the model's order; they sum to 1 and are not calibrated.
        silent: nothing in the window passes the level gate of -60 dBFS
            (`voxmood.audio.speech.GATE_DBFS`). The model answers all the same, and what it says of
            silence means nothing.
    """

    start: float
    end: float
    label: str
    probabilities: Mapping[str, float]
    silent: bool


def rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Probabilities as JSON shows them."""
    return {label: round(value, 6) for label, value in probabilities.items()}


def segment_fields(segment: Segment) -> dict[str, Any]:
    """A segment as JSON shows it."""
    return {
        "start": round(segment.start, 4),
        "end": round(segment.end, 4),
        "label": segment.label,
        "probabilities": rounded(segment.probabilities),
        "silent": segment.silent,
    }
