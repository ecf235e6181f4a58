"""What the model answers for a recording, and for each segment of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model answers for a recording.

    Attributes:
        label: the most probable label; None of a regression. Of a multilabel model others may be
            true as well: each whose probability is above one half.
        probabilities: the probability of each label, in the order of the logits; None of a
            regression. They are not calibrated. They sum to 1, but not those of a multilabel model.
        values: the values of a regression by name, in the order of the logits; else None.
        logits: float32 [labels], what the last layer gives: of a regression, the values. For a
            recording longer than 30 s, the mean of the logits of its windows, weighted by how much
            of each window is not silent.
        embedding: float32 [width], the pooled vector before the last layer. For a recording longer
            than 30 s, the mean with the same weights. Since the last layer is linear, this mean
            leads to the logits of this prediction.
        duration: the length of the recording in seconds.
        warnings: what is unusual about the recording, such as a missing end.
        channel: the number of the channel that was labeled, from 1; None if it is the mean of all.
    """

    label: str | None
    probabilities: Mapping[str, float] | None
    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    duration: float
    warnings: tuple[str, ...] = ()
    values: Mapping[str, float] | None = None
    channel: int | None = None

    @property
    def numbers(self) -> Mapping[str, float]:
        """The probabilities by label, or the values of a regression by name."""
        return _numbers(self)


@dataclass(frozen=True)
class Span:
    """A stretch of a recording that the caller gives, such as an utterance.

    Attributes:
        start: where it begins, in seconds from the beginning of the audio.
        end: where it ends, in seconds from the beginning of the audio.
        speaker: who speaks, if it is known.
        label: what its annotation says, if it has one.
        channel: the number of its channel; None leaves it to the call.
        listed: the file and the line that list it, for messages.
        columns: all other cells of its line, by column.
    """

    start: float
    end: float
    speaker: str | None = None
    label: str | None = None
    channel: int | None = None
    listed: str = ""
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Segment:
    """What the model answers for a window of a recording.

    Attributes:
        start: where the window begins, in seconds from the beginning of the audio.
        end: where the window ends, in seconds from the beginning of the audio.
        label: the most probable label, as in `Prediction`; None if the model was not run.
        probabilities: the probability of each label, as in `Prediction`.
        silent: whether the window never gets louder than -60 dBFS
            (`voxmood.audio.speech.GATE_DBFS`). The model is then not run, unless it was asked
            for; its answer for silence means nothing.
        values: the values of a regression by name, as in `Prediction`; empty if the model was not
            run.
        channel: the number of the channel, as in `Prediction`.
        span: the stretch that the caller gave, if this is the answer for one.
        error: why there is no answer, for a stretch that cannot be labeled.
    """

    start: float
    end: float
    label: str | None
    probabilities: Mapping[str, float] | None
    silent: bool
    values: Mapping[str, float] | None = None
    channel: int | None = None
    span: Span | None = None
    error: str | None = None

    @property
    def speaker(self) -> str | None:
        """Who speaks, if the caller said so."""
        return self.span.speaker if self.span else None

    @property
    def numbers(self) -> Mapping[str, float]:
        """The probabilities by label, or the values of a regression by name."""
        return _numbers(self)


def answer_fields(answer: Prediction | Segment) -> dict[str, Any]:
    """Return what the model answered as JSON output shows it, with six decimals."""
    rounded = {name: round(number, 6) for name, number in answer.numbers.items()}
    if answer.values is not None:
        return {"values": rounded or None}
    return {"label": answer.label, "probabilities": rounded or None}


ANSWER_FIELDS = {
    "classification": ("label", "probabilities"),
    "multilabel": ("label", "probabilities"),
    "regression": ("values",),
}
"""The names of the fields of `answer_fields` by the task of the model."""


def _numbers(answer: Prediction | Segment) -> Mapping[str, float]:
    return (answer.probabilities if answer.values is None else answer.values) or {}


def segment_fields(segment: Segment) -> dict[str, Any]:
    """Return the fields of a segment as JSON output shows them."""
    return {
        "start": round(segment.start, 4),
        "end": round(segment.end, 4),
        **answer_fields(segment),
        "silent": segment.silent,
    }
