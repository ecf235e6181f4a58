"""The clips on which models are compared: recordings, or signals that resemble speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxmood.audio import Waveform, read_waveform
from voxmood.audio.listing import find_recordings

MAX_CALIBRATION_CLIPS = 16


@dataclass(frozen=True)
class Clips:
    """What models are compared on.

    Attributes:
        description: what the waveforms are, for the bundle's description.
        waveforms: float32, at the checkpoint's sampling rate.
        calibration: other waveforms of the same kind, on which int8 is calibrated.
        recorded: whether the calibration waveforms are recordings.
    """

    description: str
    waveforms: list[Waveform]
    calibration: list[Waveform]
    recorded: bool


def generated_clips(rate: int) -> Clips:
    """Return eight signals of 0.5 to 8 s that resemble speech, and eight more to calibrate on."""
    seconds = (0.5, 1.0, 1.7, 2.3, 3.1, 4.0, 5.5, 8.0)
    clips = [speech_like(length, rate, seed) for seed, length in enumerate(2 * seconds)]
    count = len(seconds)
    description = f"{count} generated speech-like signals of 0.5 to 8 s"
    return Clips(description, clips[:count], clips[count:], recorded=False)


def recorded_clips(folder: Path, rate: int, limit: int, max_seconds: float = 30.0) -> Clips:
    """Return recordings of a folder and its sub-folders, evenly picked from their sorted names.

    Args:
        folder: the folder.
        rate: the sampling rate of the waveforms in Hz.
        limit: the largest number of recordings to compare models on. Int8 is calibrated on others,
            or on generated signals if there are no others.
        max_seconds: the longest recording that is read.

    Raises:
        MissingFileError: the folder is missing.
        AudioError: the folder holds no recordings, or one cannot be read.
    """
    paths = [recording.path for recording in find_recordings(folder)]
    picked = _evenly(paths, limit)
    others = _evenly([path for path in paths if path not in picked], MAX_CALIBRATION_CLIPS)

    def read(chosen: list[Path]) -> list[Waveform]:
        return [read_waveform(path, rate=rate, max_seconds=max_seconds) for path in chosen]

    return Clips(
        f"{len(picked)} recordings of the folder {folder.resolve().name}",
        read(picked),
        read(others) or generated_clips(rate).calibration,
        recorded=bool(others),
    )


def _evenly(paths: list[Path], limit: int) -> list[Path]:
    count = min(limit, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def speech_like(seconds: float, rate: int, seed: int) -> Waveform:
    """Return a voice-like signal: pulses of a varying pitch through varying formants, with pauses.

    It is a source-filter synthesis after Klatt (JASA 67, 1980). It does not sound natural, but it
    has the harmonics, formants, noise and rhythm that make a speech network's activations vary.

    Args:
        seconds: the length of the signal.
        rate: the sampling rate in Hz.
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
