"""Blocks of samples at any rate to mono at the model's, as librosa converts a whole recording."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import soxr

from voxmood.audio.sources import Waveform
from voxmood.errors import AudioError

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a block becomes at most 16 times as long at 16 kHz
LOUD_PEAK = 2.0  # lossy codecs overshoot full scale, but hardly by 6 dB
MAX_PEAK = 2.0**31  # integer samples read as floats without scaling; beyond it, no audio
CANCELLED = 0.03  # of the channels' power left in their mean; of unrelated channels half is


class Converter:
    """Blocks of samples at one rate to mono at another.

    All it returns, put together, is what `librosa.to_mono` and `librosa.resample` make of the
    whole, to the bit, however the samples are cut into blocks.

    Args:
        name: what to call the audio in messages.
        sampling_rate: of the blocks, in Hz.
        rate: the sampling rate wanted, in Hz.

    Attributes:
        sampling_rate: of the blocks, in Hz.
        given: samples returned so far.

    Raises:
        AudioError: `sampling_rate` is out of bounds.
    """

    def __init__(self, name: str, sampling_rate: int, rate: int) -> None:
        if not MIN_RATE <= sampling_rate <= MAX_RATE:
            raise AudioError(
                f"{name}: its sampling rate of {sampling_rate} Hz is not one of speech "
                f"({MIN_RATE} to {MAX_RATE} Hz); correct the header or sampling_rate=."
            )
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
        """Takes samples [frames, channels]; returns as many as are ready, float32 [samples].

        Raises:
            AudioError: a sample is not finite, or too large for audio; the block is not taken.
        """
        peak = float(np.abs(block).max(initial=0))
        if not math.isfinite(peak):
            raise AudioError(f"{self.name}: holds NaN or infinite samples; write the file again.")
        if peak > MAX_PEAK:
            raise AudioError(f"{self.name}: samples of {peak:.3g} are no audio; 1 is full scale.")
        self._peak = max(self._peak, peak)
        mono: Waveform = block[:, 0]
        if block.shape[1] > 1:
            # Summed as librosa.to_mono does; another order gives other last bits.
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
        """The samples that the resampler still holds; nothing can be pushed after it."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest: Waveform = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        # soxr may round the length another way than librosa, which cuts or pads by a sample.
        length = math.ceil(self._taken * self._ratio) - self.given
        self.given += length
        return np.pad(rest[:length], (0, max(0, length - len(rest))))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was unusual so far."""
        warnings = []
        if self._peak > LOUD_PEAK:
            warnings.append(f"peaks at {self._peak:.3g} where 1 is full scale; taken as it is")
        if self._mono_power < CANCELLED * self._power:
            warnings.append("its channels cancel in their mean; label one of them instead")
        return tuple(warnings)
