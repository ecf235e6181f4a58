"""Recordings of any length to segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxmood.audio import Recording
from voxmood.windows import Windows

if TYPE_CHECKING:
    from voxmood.model import Model


@dataclass(frozen=True)
class Segment:
    """What the model says of a window.

    Attributes:
        start: of the window, in seconds from the beginning of the audio.
        end: of the window, in seconds.
        label: the most probable label.
        probabilities: by label, in the model's order; they sum to 1 and are not calibrated.
        silent: nothing in the window passes the level gate of -60 dBFS
            (`voxmood.windows.GATE_DBFS`). The model answers all the same, and what it says of
            silence means nothing.
    """

    start: float
    end: float
    label: str
    probabilities: Mapping[str, float]
    silent: bool


class Timeline(Iterator[Segment]):
    """The segments of a recording, each as soon as it is known; made by `Model.timeline`.

    Attributes:
        duration: of the recording in seconds as its header claims, or None where it does not say.
    """

    def __init__(self, model: Model, recording: Recording, windows: Windows) -> None:
        self.duration = recording.duration
        self._recording = recording
        self._segments = _segments(model, recording, windows)

    def __next__(self) -> Segment:
        return next(self._segments)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual about the audio so far; complete once the segments are."""
        return self._recording.warnings


def _segments(model: Model, recording: Recording, windows: Windows) -> Iterator[Segment]:
    for window in windows.over(recording):
        yield model.label_window(*window)
    model.check_length(recording)
