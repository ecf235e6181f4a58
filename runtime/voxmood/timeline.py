"""The timeline, which turns a recording of any length into segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from voxmood.audio import AudioReader, Waveform
from voxmood.audio.windows import Windows
from voxmood.results import Segment


class Timeline(Iterator[Segment]):
    """An iterator over the segments of a recording, which `Model.timeline` makes.

    It yields each segment as soon as it is known.

    Args:
        reader: reads the recording.
        windows: cuts its waveform into windows.
        label: returns the segment of a window, given the number of its first sample and its
            waveform.
        check: is called at the end, and raises if the recording is too short for the model.

    Attributes:
        duration: the length of the recording in seconds as its header states it; None if it does
            not.
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
        """What is unusual about the audio read so far; complete after the last segment."""
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
