"""The channels of a recording: their mean, one of them, or each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from voxmood.audio.converter import Converter, check_rate, check_samples
from voxmood.audio.sources import MAX_CHANNELS, Waveform
from voxmood.audio.speech import GATE_DBFS
from voxmood.errors import AudioError

Channel: TypeAlias = int | Literal["mix", "each"]
"""What is labeled of a recording with several channels: `mix`, the mean of all; the number of one
of them, from 1; or `each`, every one by itself."""

FRAME_SECONDS = 0.02
LOUDER = 100.0
"""How much more power one channel must have for the frame to be its own: 20 dB."""
OWN, TOGETHER = 0.1, 0.2
"""The least share of the frames with sound that each of two speakers has alone, and the largest
share that is neither's alone."""


def check_channel(channel: object) -> Channel:
    """Return a channel that a caller passed, after checking it.

    Raises:
        AudioError: the channel is not valid.
    """
    if isinstance(channel, (int, np.integer)) and not isinstance(channel, bool):
        if 1 <= channel <= MAX_CHANNELS:
            return int(channel)
    elif channel == "mix":
        return "mix"
    elif channel == "each":
        return "each"
    raise AudioError(
        f"channel is {channel!r}; pass mix, each or a number from 1 to {MAX_CHANNELS}."
    )


class Channels:
    """The channels of one recording, which are converted side by side.

    Args:
        name: the name of the audio in messages.
        sampling_rate: the sampling rate of the first block, in Hz.
        rate: the sampling rate to convert to, in Hz.
        chosen: which channels; `each` in it stands for all that the recording has.
        optional: the numbers of channels that are converted, too, if the recording has them.

    Attributes:
        sampling_rate: the sampling rate of the last block, in Hz.
        samples: the number of samples of each waveform that were returned so far.

    Raises:
        AudioError: `sampling_rate` is out of range.
    """

    def __init__(
        self,
        name: str,
        sampling_rate: int,
        rate: int,
        chosen: Sequence[Channel] = ("mix",),
        optional: Sequence[int] = (),
    ) -> None:
        check_rate(name, sampling_rate)
        self.name = name
        self.sampling_rate = sampling_rate
        self.samples = 0
        self.numbers: tuple[int | None, ...] = ()
        """The number of each waveform's channel, or None for the mean; known with the first one."""
        self._rate = rate
        self._chosen = chosen
        self._optional = optional
        self._converters: list[Converter] = []
        self._finished: list[Converter] = []
        self._speakers = _Speakers()
        self._count = 0  # channels of the first block

    def push(self, frames: npt.NDArray[np.float32], sampling_rate: int) -> list[Waveform]:
        """Convert a block, and return what is ready of each waveform, float32 [samples].

        Args:
            frames: float32 [frames, channels].
            sampling_rate: their rate, in Hz; it may change from block to block.

        Raises:
            AudioError: a chosen channel is not there, or samples cannot be used.
        """
        count = frames.shape[1]
        if not self.numbers:
            self._count = count
            each = "each" in self._chosen
            named: list[int | None] = [
                None if one == "mix" else one for one in self._chosen if one != "each"
            ]
            everyone = range(1, count + 1) if each else ()
            self.numbers = tuple(
                dict.fromkeys([*named, *everyone, *(one for one in self._optional if one <= count)])
            )
        if "each" in self._chosen and count != self._count:
            raise AudioError(
                f"{self.name}: has {self._count} channels at first and {count} later; label their "
                "mix, or a channel that is there all the time."
            )
        missing = [number for number in self.numbers if number is not None and number > count]
        if missing:
            has = "1 channel" if count == 1 else f"{count} channels"
            raise AudioError(f"{self.name}: has {has}, and no channel {missing[0]}.")
        blocks = [frames if number is None else _only(frames, number) for number in self.numbers]
        for block in blocks[1:]:  # all are checked before one takes it; the first checks its own
            check_samples(self.name, block)
        parts = []
        if sampling_rate != self.sampling_rate or not self._converters:
            parts = [self._close()] if self._converters else []
            self.sampling_rate = sampling_rate
            self._converters = [
                Converter(self.name, sampling_rate, self._rate) for _ in self.numbers
            ]
        parts.append(
            [each.push(block) for each, block in zip(self._converters, blocks, strict=True)]
        )
        if None in self.numbers and count == 2:
            self._speakers.push(frames, sampling_rate)
        ready = [
            np.concatenate(each) if len(each) > 1 else each[0] for each in zip(*parts, strict=True)
        ]
        self.samples += len(ready[0])
        return ready

    def close(self) -> list[Waveform]:
        """Return what the resamplers still hold; nothing can be pushed afterward."""
        rest = self._close()
        self.samples += len(rest[0]) if rest else 0
        return rest

    def _close(self) -> list[Waveform]:
        self._finished += self._converters
        return [converter.close() for converter in self._converters]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual about the samples so far."""
        converters = dict.fromkeys([*self._finished, *self._converters])
        found = [warning for each in converters for warning in each.warnings]
        if self._speakers.two:
            found.append(
                "its two channels are rarely loud together, as of a call with a speaker on each; "
                "label each channel by itself"
            )
        return tuple(dict.fromkeys(found))


def _only(frames: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(frames[:, number - 1 : number])


class _Speakers:
    """Frames in which one of two channels is much louder than the other, and all with sound."""

    def __init__(self) -> None:
        self._rest = np.zeros((0, 2), np.float32)
        self._alone = np.zeros(2, np.int64)
        self._sounding = 0

    def push(self, frames: npt.NDArray[np.float32], rate: int) -> None:
        """Count the frames of a block [frames, 2]; what is left of it counts with the next one."""
        size = max(1, round(FRAME_SECONDS * rate))
        frames = np.concatenate([self._rest, frames]) if len(self._rest) else frames
        whole = len(frames) // size * size
        self._rest = frames[whole:].copy()
        power = np.square(frames[:whole].reshape(-1, size, 2)).mean(axis=1)
        gate = 10 ** (GATE_DBFS / 10)
        self._sounding += int((power.max(axis=1, initial=0) >= gate).sum())
        for one in (0, 1):
            mine, other = power[:, one], power[:, 1 - one]
            self._alone[one] += int(((mine >= gate) & (mine > LOUDER * other)).sum())

    @property
    def two(self) -> bool:
        """Whether this looks like two speakers, with a second or more of each."""
        least = max(OWN * self._sounding, 1 / FRAME_SECONDS)
        together = self._sounding - int(self._alone.sum())
        return bool(self._alone.min() >= least and together <= TOGETHER * self._sounding)
