"""The stream, which turns live audio into segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxmood.audio.channels import Channel, Channels, check_channel
from voxmood.audio.decoders import BLOCK_SAMPLES
from voxmood.audio.sources import as_frames, as_rate, to_float
from voxmood.audio.stretches import Detectors, cutters
from voxmood.audio.windows import Lanes, Piece
from voxmood.errors import AudioError
from voxmood.results import Segment

if TYPE_CHECKING:
    from voxmood.model import Model


class Stream:
    """A stream labels audio that arrives in chunks of any size.

    Its segments are the same, to the bit, as those of `Model.timeline` for a file with the same
    audio. Only one thread at a time may use a stream.

    Args:
        model: a loaded model.
        sampling_rate: the sampling rate of the chunks, in Hz.
        window: the length of a segment, in seconds.
        hop: the time from the start of one segment to the start of the next, in seconds.
        channel: which channel to label; see `voxmood.audio.Channel`.
        speech: whether to label stretches of speech instead of windows, as `Model.timeline` does.
        run_silence: also run the model on silent windows.
        newest_only: whether to label only the last of the windows of a channel that a push
            completes. The earlier ones are dropped and counted in `dropped`. This is for live use,
            where all that was recorded while a window was being labeled is pushed at once.

    Attributes:
        dropped: the number of windows that were dropped so far.

    Raises:
        AudioError: the model does not take such a window, or the rate is out of range.
    """

    def __init__(
        self,
        model: Model,
        sampling_rate: int,
        window: float = 5.0,
        hop: float = 1.0,
        *,
        channel: Channel = "mix",
        speech: bool | Detectors = False,
        run_silence: bool = False,
        newest_only: bool = False,
    ) -> None:
        if not hasattr(model, "label_window"):
            raise AudioError(
                f"stream: its model is a {type(model).__name__}; pass what voxmood.load returns."
            )
        self._model = model
        self._channels = 0  # of the first chunk
        chosen = check_channel(channel)
        self._rate = as_rate(sampling_rate, "stream")
        self._tracks = Channels("stream", self._rate, model.bundle.sampling_rate, [chosen])
        self._lanes = Lanes(cutters(window, hop, speech, model.bundle))
        self._run_silence = run_silence
        self._newest_only = newest_only
        self._closed = False
        self.dropped = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual about the audio so far, one sentence each."""
        return self._tracks.warnings

    def push(self, chunk: npt.NDArray[Any]) -> list[Segment]:
        """Add samples to the stream and return the segments that they complete, often none.

        Args:
            chunk: floats from -1 to 1, or int16 or int32 PCM; mono as [samples], or as
                [frames, channels], as sounddevice and soundfile return them.

        Raises:
            AudioError: the chunk has another type or shape, or samples that are NaN, infinite or
                far too large, or not the chosen channel; or the stream is closed.
        """
        if self._closed:
            raise AudioError("the stream is closed; open another one.")
        frames = as_frames(chunk, "stream", chunk=True)
        self._channels = self._channels or frames.shape[1]
        if frames.shape[1] != self._channels and frames.size:
            raise AudioError(
                f"stream: a chunk has {frames.shape[1]} channels, and the first one had "
                f"{self._channels}; push [frames, channels]."
            )
        return self._label(
            piece
            for start in range(0, len(frames), BLOCK_SAMPLES)
            for piece in self._push(to_float(frames[start : start + BLOCK_SAMPLES]))
        )

    def close(self) -> list[Segment]:
        """End the stream and return the segments of the samples that it still holds.

        The last segment may be shorter than the others. A second call returns no segments.
        """
        if self._closed:
            return []
        self._closed = True
        rest = self._tracks.close()
        return self._label(chain(self._lanes.push(self._tracks.numbers, rest), self._lanes.close()))

    def _push(self, frames: npt.NDArray[np.float32]) -> Iterator[tuple[int | None, Piece]]:
        tracks = self._tracks.push(frames, self._rate)
        return self._lanes.push(self._tracks.numbers, tracks)

    def _label(self, pieces: Iterable[tuple[int | None, Piece]]) -> list[Segment]:
        if self._newest_only:
            due = list(pieces)
            newest = dict(due)  # of each channel
            self.dropped += len(due) - len(newest)
            pieces = list(newest.items())
        return [
            self._model.label_window(
                piece.start, piece.waveform, number, run_silence=self._run_silence
            )
            for number, piece in pieces
        ]
