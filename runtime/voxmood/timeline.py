"""The timeline, which turns a recording of any length into segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from voxmood.audio import AudioReader, Waveform
from voxmood.audio.windows import Lanes
from voxmood.results import Segment


class Timeline(Iterator[Segment]):
    """An iterator over the segments of a recording, which `Model.timeline` makes.

    It yields each segment as soon as it is known.

    Args:
        reader: reads the recording.
        lanes: cuts its waveforms into pieces.
        label: returns the segment of a piece, given the number of its first sample, its waveform
            and the number of its channel.
        check: is called at the end, and raises if the recording is too short for the model.

    Attributes:
        duration: the length of the recording in seconds as its header states it; None if it does
            not.
    """

    def __init__(
        self,
        reader: AudioReader,
        lanes: Lanes,
        label: Callable[[int, Waveform, int | None], Segment],
        check: Callable[[AudioReader], None],
    ) -> None:
        self.duration = reader.duration
        self._reader = reader
        self._segments = _segments(reader, lanes, label, check)

    def __next__(self) -> Segment:
        return next(self._segments)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual about the audio read so far; complete after the last segment."""
        return self._reader.warnings


def _segments(
    reader: AudioReader,
    lanes: Lanes,
    label: Callable[[int, Waveform, int | None], Segment],
    check: Callable[[AudioReader], None],
) -> Iterator[Segment]:
    for number, piece in lanes.over(reader, reader.tracks()):
        yield label(piece.start, piece.waveform, number)
    check(reader)
