"""The difference between sound and silence, by level."""

from __future__ import annotations

import numpy as np

from voxmood.audio.sources import Waveform

GATE_DBFS = -60.0
"""The RMS level from which on a frame counts as sound; 0 dBFS is a square wave of +-1.

This is the default of ffmpeg's `silencedetect`. It is above the noise of 16-bit samples and of a
muted input, and below quiet speech. The mean of the frame (DC) does not count.
"""
FRAME_SECONDS = 0.02


def speech_samples(waveform: Waveform, rate: int) -> int:
    """Return the number of samples that are not silent.

    A sample is not silent if the level of its frame reaches `GATE_DBFS`. Frames are 20 ms long; the
    last one may be shorter. Their level is the RMS of the samples after subtracting their mean.

    Args:
        waveform: float32 [samples].
        rate: its sampling rate, in Hz.
    """
    size = max(1, round(FRAME_SECONDS * rate))
    starts = np.arange(0, len(waveform), size)
    lengths = np.diff(starts, append=len(waveform))
    samples = waveform.astype(np.float64)
    mean = np.add.reduceat(samples, starts) / lengths
    power = np.add.reduceat((samples - np.repeat(mean, lengths)) ** 2, starts) / lengths
    return int(lengths[power >= 10 ** (GATE_DBFS / 10)].sum())
