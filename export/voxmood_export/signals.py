"""Signals that sound somewhat like speech, for where no recordings are at hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxmood.audio import Waveform


def speech_like(seconds: float, rate: int, seed: int) -> Waveform:
    """A voice-like signal: pulses of a wandering pitch through wandering formants, with pauses.

    A source-filter synthesis after Klatt (JASA 67, 1980), without any claim to sound well: it has
    the harmonics, formants, noise and rhythm that make a speech network's activations vary.

    Args:
        seconds: its length.
        rate: samples a second.
        seed: another seed gives another voice and another sentence.

    Returns:
        float32 [seconds * rate], peak 0.5.
    """
    random = np.random.default_rng(seed)
    count = int(seconds * rate)
    time = np.arange(count) / rate

    def wander(low: float, high: float, every: float) -> npt.NDArray[np.float64]:
        knots = random.uniform(low, high, int(seconds / every) + 2)
        return np.interp(time, np.arange(len(knots)) * every, knots)

    pitch = wander(0.7, 1.4, 0.25) * random.uniform(90, 260)
    phase = np.cumsum(pitch) / rate
    formants = [wander(300, 900, 0.12), wander(900, 2300, 0.12), wander(2300, 3400, 0.12)]
    voice = np.zeros(count)
    for harmonic in range(1, int(0.45 * rate / pitch.max())):
        frequency = harmonic * pitch
        gain = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in formants)
        voice += gain / harmonic**0.5 * np.sin(2 * np.pi * harmonic * phase)
    breath = np.diff(random.standard_normal(count + 1))
    voiced = wander(-0.5, 1.5, 0.1).clip(0, 1)
    loudness = wander(-0.3, 1.0, 0.15).clip(0, 1)
    signal = loudness * (voiced * voice + 0.3 * (1 - voiced) * breath)
    signal += 1e-4 * random.standard_normal(count)  # a room is never silent
    loudest = float(np.abs(signal).max())
    return np.asarray(0.5 * signal / loudest, np.float32)
