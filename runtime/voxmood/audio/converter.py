"""Conversion of samples, block by block, as librosa converts a whole recording."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import soxr

from voxmood.audio.sources import Waveform
from voxmood.errors import AudioError

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; at 16 kHz, a block becomes at most 16 times as long
LOUD_PEAK = 2.0  # lossy codecs overshoot full scale, but hardly by 6 dB
MAX_PEAK = 2.0**31  # integers that were taken for floats reach it; nothing beyond it is audio
CANCELED = 0.03  # of the power of the channels is left in their mean; half, if they are unrelated


def check_rate(name: str, sampling_rate: int) -> None:
    """Raise AudioError if the sampling rate of some audio, in Hz, is out of range."""
    if not MIN_RATE <= sampling_rate <= MAX_RATE:
        raise AudioError(
            f"{name}: its sampling rate of {sampling_rate} Hz is not one for speech "
            f"({MIN_RATE} to {MAX_RATE} Hz); correct the header or sampling_rate=."
        )


def check_samples(name: str, block: npt.NDArray[np.float32]) -> float:
    """Return the largest absolute sample of a block.

    Raises:
        AudioError: a sample is not finite, or too large for audio.
    """
    peak = float(np.abs(block).max(initial=0))
    if not math.isfinite(peak):
        raise AudioError(f"{name}: has NaN or infinite samples; write the file again.")
    if peak > MAX_PEAK:
        raise AudioError(f"{name}: has samples of {peak:.3g}, which is not audio; 1 is full scale.")
    return peak


class Converter:
    """A converter turns blocks of samples at one sampling rate into mono at another one.

    However the samples are cut into blocks, the results put together equal, to the bit, what
    `librosa.to_mono` and `librosa.resample` make of the whole.

    Args:
        name: the name of the audio in messages.
        sampling_rate: the sampling rate of the blocks, in Hz.
        rate: the sampling rate to convert to, in Hz.

    Attributes:
        sampling_rate: the sampling rate of the blocks, in Hz.
        given: the number of samples returned so far.

    Raises:
        AudioError: `sampling_rate` is out of range.
    """

    def __init__(self, name: str, sampling_rate: int, rate: int) -> None:
        check_rate(name, sampling_rate)
        self.name = name
        self.sampling_rate = sampling_rate
        self._ratio = float(rate) / sampling_rate
        self._resampler = (
            None
            if sampling_rate == rate
            else soxr.ResampleStream(sampling_rate, rate, 1, dtype="float32", quality="HQ")
        )
        self._taken = 0
        self.given = 0
        self._peak = self._power = self._mono_power = 0.0

    def push(self, block: npt.NDArray[np.float32]) -> Waveform:
        """Convert a block of samples and return what is ready, float32 [samples].

        Args:
            block: float32 [frames, channels].

        Raises:
            AudioError: a sample is not finite, or too large for audio; the block is then ignored.
        """
        self._peak = max(self._peak, check_samples(self.name, block))
        mono: Waveform = block[:, 0]
        if block.shape[1] > 1:
            # This sums as librosa.to_mono does; another order would give other last bits.
            mono = block.T.mean(axis=0)
            self._power += float(np.vdot(block, block)) / block.shape[1]
            self._mono_power += float(np.vdot(mono, mono))
        self._taken += len(mono)
        if self._resampler is None:
            self.given += len(mono)
            return mono
        resampled: Waveform = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        self.given += len(resampled)
        return resampled

    def close(self) -> Waveform:
        """Return the samples that the resampler still holds; nothing can be pushed afterward."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest: Waveform = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        # soxr may round the length in another way than librosa, which cuts or pads by a sample.
        length = math.ceil(self._taken * self._ratio) - self.given
        self.given += length
        return np.pad(rest[:length], (0, max(0, length - len(rest))))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual about the samples so far."""
        warnings = []
        if self._peak > LOUD_PEAK:
            warnings.append(f"peaks at {self._peak:.3g}, where 1 is full scale; taken as it is")
        if self._mono_power < CANCELED * self._power:
            warnings.append(
                "its channels cancel each other when they are averaged; label one of them instead"
            )
        return tuple(warnings)
