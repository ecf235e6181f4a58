"""What the model answers for a recording, and for each segment of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from voxmood.audio.speech import GATE_DBFS
from voxmood.bundle.calibration import COVERAGE, Calibration
from voxmood.errors import CalibrationError

SILENT = f"is silent (never above {GATE_DBFS:g} dBFS), so the answer means nothing"
NO_SPEECH = "no speech found, so the answer means nothing"
UNLIKE = (
    "is unlike the recordings that the model was calibrated on, so its probabilities mean little"
)
"""Warnings about the whole of a recording, with which its answer is unsure."""

UNSURE = "unsure"
"""What stands in place of a label where the answer is unsure."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model answers for a recording.

    Attributes:
        label: the most probable label; None of a regression. Of a multilabel model others may be
            true as well: each whose probability is above one half.
        probabilities: the probability of each label, in the order of the logits; None of a
            regression. Only those of a calibrated bundle say how often the label is the true one.
            They sum to 1, but not those of a multilabel model.
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
        unsure: whether the answer should rather not be used: several labels remain in the set of
            90 %, or the confidence is below the `min_confidence` that the model was loaded with; or
            the recording is silent, no speech, or unlike the calibration recordings. None if the
            bundle is not calibrated and no `min_confidence` was given.
        novelty: how far the embedding is from those of the calibration recordings; 1 is the
            distance that one in a hundred of them exceeded. None if the bundle is not calibrated.
        calibration: how the bundle was calibrated; None if it was not.
    """

    label: str | None
    probabilities: Mapping[str, float] | None
    logits: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    duration: float
    warnings: tuple[str, ...] = ()
    values: Mapping[str, float] | None = None
    channel: int | None = None
    unsure: bool | None = None
    novelty: float | None = None
    calibration: Calibration | None = field(default=None, repr=False)

    @property
    def numbers(self) -> Mapping[str, float]:
        """The probabilities by label, or the values of a regression by name."""
        return _numbers(self)

    def candidates(self, coverage: float = COVERAGE) -> tuple[str, ...]:
        """Return the labels that hold the true one in a certain share of cases, likeliest first.

        The share holds for recordings like those that the bundle was calibrated on. One label means
        that the model is sure, several that it is undecided.

        Args:
            coverage: the share of cases, from 0.01 to 0.99.

        Raises:
            CalibrationError: the bundle is not calibrated, the coverage is out of range, or the
                model does not choose one of several labels.
        """
        if self.calibration is None:
            raise CalibrationError(
                "there are no sets of candidates, because the bundle is not calibrated; `voxmood "
                "calibrate` makes one that is."
            )
        return self.calibration.candidates(self.probabilities or {}, coverage)


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
        unsure: whether the answer should rather not be used, as in `Prediction`.
        novelty: how far the embedding is from those of the calibration recordings, as in
            `Prediction`.
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
    unsure: bool | None = None
    novelty: float | None = None

    @property
    def speaker(self) -> str | None:
        """Who speaks, if the caller said so."""
        return self.span.speaker if self.span else None

    @property
    def numbers(self) -> Mapping[str, float]:
        """The probabilities by label, or the values of a regression by name."""
        return _numbers(self)


def shown_label(answer: Prediction | Segment) -> str | None:
    """Return what people are shown as the label: that, or that the answer is unsure."""
    return UNSURE if answer.unsure else answer.label


def answer_fields(answer: Prediction | Segment) -> dict[str, Any]:
    """Return what the model answered as JSON output shows it, with six decimals.

    `unsure` and `novelty` are there only where they are known.
    """
    rounded = {name: round(number, 6) for name, number in answer.numbers.items()}
    fields: dict[str, Any] = {"values": rounded or None}
    if answer.values is None:
        fields = {"label": answer.label, "probabilities": rounded or None}
    if answer.unsure is not None:
        fields["unsure"] = answer.unsure
    if answer.novelty is not None:
        fields["novelty"] = round(answer.novelty, 4)
    return fields


ANSWER_FIELDS = {
    "classification": ("label", "probabilities"),
    "multilabel": ("label", "probabilities"),
    "regression": ("values",),
}
"""The names of the fields of `answer_fields` by the task of the model, without `unsure` and
`novelty`."""


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
