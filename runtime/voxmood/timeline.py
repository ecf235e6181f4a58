"""Recordings of any length to segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from voxmood.audio import AudioReader, Waveform
from voxmood.audio.windows import Windows
from voxmood.results import Segment


class Timeline(Iterator[Segment]):
    """The segments of a recording, each as soon as it is known; made by `Model.timeline`.

    Args:
        reader: the recording.
        windows: cut its waveform.
        label: answers for a window, given its first sample's number and its waveform.
        check: raises where the recording that was read is too short for the model.

    Attributes:
        duration: of the recording in seconds as its header claims, or None where it does not say.
    """

    def __init__(
        self,
        reader: AudioReader,
        windows: Windows,
        label: Callable[[int, Waveform], Segment],
        check: Callable[[AudioReader], None],
    ) -> None:
        self.duration = reader.duration
        self._reader = reader
        self._segments = _segments(reader, windows, label, check)

    def __next__(self) -> Segment:
        return next(self._segments)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual about the audio so far; complete once the segments are."""
        return self._reader.warnings


def _segments(
    reader: AudioReader,
    windows: Windows,
    label: Callable[[int, Waveform], Segment],
    check: Callable[[AudioReader], None],
) -> Iterator[Segment]:
    for start, waveform in windows.over(reader):
        yield label(start, waveform)
    check(reader)
