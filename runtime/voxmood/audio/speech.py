"""Tells speech from silence, by level."""

from __future__ import annotations

import numpy as np

from voxmood.audio.sources import Waveform

GATE_DBFS = -60.0
"""A frame counts as sound from this RMS level on, full scale being a square wave of +-1.

It is where ffmpeg's `silencedetect` draws the line by default: above the noise of 16-bit samples
and of a muted input, below quiet speech. The mean of the frame (DC) does not count.
"""
FRAME_SECONDS = 0.02


def speech_samples(waveform: Waveform, rate: int) -> int:
    """How many of the samples are in frames that pass the gate.

    Frames are of 20 ms, the last one of what is left; their level is RMS about their mean.
    """
    size = max(1, round(FRAME_SECONDS * rate))
    starts = np.arange(0, len(waveform), size)
    lengths = np.diff(starts, append=len(waveform))
    samples = waveform.astype(np.float64)
    mean = np.add.reduceat(samples, starts) / lengths
    power = np.add.reduceat((samples - np.repeat(mean, lengths)) ** 2, starts) / lengths
    return int(lengths[power >= 10 ** (GATE_DBFS / 10)].sum())
