"""The clips that int8 is calibrated on, and those on which models are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from voxmood.audio import AudioReader, Waveform
from voxmood.audio.listing import find_recordings
from voxmood.errors import AudioError

T = TypeVar("T")

SPEECH = Path(__file__).parent / "speech"
"""Sentences in many languages from a speech synthesizer, with noise and rooms;
`benchmarks/scripts/synthetic_speech.py` makes them."""
CALIBRATION_SENTENCES = 16  # of SPEECH; models are compared on the others
CALIBRATION_RECORDINGS = 16
CALIBRATION_SECONDS = 60.0  # of recordings, so that long ones do not take minutes
MAX_SECONDS = 30.0  # of a recording, whose rest is not read
FRAME_SECONDS = 0.02
LEAST_FRAMES = 25  # half a second
LEAST_VARIATION_DB = 6.0
"""The least difference between loud and quiet frames of speech. It is below 1 dB in noise, and
about 10 dB in speech that is 10 dB louder than the noise around it."""


@dataclass(frozen=True)
class Clips:
    """What int8 is calibrated on, and what models are compared on.

    Attributes:
        description: what the waveforms are, for the bundle's description.
        waveforms: float32, at the checkpoint's sampling rate.
        calibration: other waveforms, on which int8 is calibrated.
        tuned_on: what these are, likewise.
        left_out: why recordings are not used, a sentence each.
    """

    description: str
    waveforms: list[Waveform]
    calibration: list[Waveform]
    tuned_on: str
    left_out: tuple[str, ...] = ()


def synthetic_clips(rate: int) -> Clips:
    """Return synthetic speech to compare models on, and more of it to calibrate int8 on.

    Args:
        rate: the sampling rate of the waveforms in Hz.
    """
    sentences = [beginning(path, rate) for path in sorted(SPEECH.glob("*.opus"))]
    others = sentences[CALIBRATION_SENTENCES:]
    return Clips(
        f"{len(others)} sentences of synthetic speech",
        others,
        sentences[:CALIBRATION_SENTENCES],
        f"{CALIBRATION_SENTENCES} sentences of synthetic speech",
    )


def recorded_clips(folder: Path, rate: int, limit: int) -> Clips:
    """Return recordings of a folder and its sub-folders, evenly picked from their sorted names.

    Half of a few recordings are there to calibrate int8 on, together with synthetic speech. Of a
    long recording the first `MAX_SECONDS` are read.

    Args:
        folder: the folder.
        rate: the sampling rate of the waveforms in Hz.
        limit: the largest number of recordings to compare models on.

    Raises:
        MissingFileError: the folder is missing.
        AudioError: the folder holds no recordings, or none that can be read.
    """
    paths = [recording.path for recording in find_recordings(folder)]
    read: list[Waveform] = []
    left_out: list[str] = []
    for path in evenly(paths, limit + CALIBRATION_RECORDINGS):
        try:
            read.append(beginning(path, rate))
        except AudioError as error:
            left_out.append(str(error))
    if not read:
        raise AudioError(f"{folder}: no recording can be read; {left_out[0]}")
    compared = min(limit, max(len(read) - CALIBRATION_RECORDINGS, (len(read) + 1) // 2))
    picked = set(evenly(range(len(read)), compared))
    others = [waveform for index, waveform in enumerate(read) if index not in picked]
    speech = [waveform for waveform in others if _varies(waveform, rate)]
    if len(speech) < len(others):
        left_out.append(
            f"{_recordings(len(others) - len(speech))} with silence or noise alone: int8 is "
            "calibrated on others."
        )
    seconds = np.cumsum([len(waveform) / rate for waveform in speech])
    own = speech[: int(np.searchsorted(seconds, CALIBRATION_SECONDS)) + 1]
    synthetic = synthetic_clips(rate)
    name = folder.resolve().name
    return Clips(
        f"{_recordings(len(picked))} of the folder {name}",
        [read[index] for index in sorted(picked)],
        own + synthetic.calibration,
        (f"{_recordings(len(own), 'other ')} of the folder {name} and " if own else "")
        + synthetic.tuned_on,
        tuple(left_out),
    )


def _recordings(count: int, which: str = "") -> str:
    return f"{count} {which}recording{'s' * (count != 1)}"


def beginning(path: Path, rate: int, seconds: float = MAX_SECONDS) -> Waveform:
    """Return the first seconds of a recording, or all of it if it is shorter.

    Args:
        path: the recording.
        rate: the sampling rate of the waveform in Hz.
        seconds: the rest is not read.

    Raises:
        AudioError: the recording cannot be read.
    """
    blocks, count, most = [], 0, round(seconds * rate)
    for block in AudioReader(path, rate=rate):
        blocks.append(block)
        count += len(block)
        if count >= most:
            break
    waveform: Waveform = np.concatenate(blocks)[:most]
    return waveform


def _varies(waveform: Waveform, rate: int) -> bool:
    """Return whether the level of a waveform varies as that of speech does, or is too short to."""
    size = round(FRAME_SECONDS * rate)
    frames = waveform[: len(waveform) // size * size].reshape(-1, size).astype(np.float64)
    if len(frames) < LEAST_FRAMES:
        return True
    decibels = 10 * np.log10(frames.var(axis=1) + 1e-9)
    quiet, loud = np.percentile(decibels, [20, 95])
    return bool(loud - quiet >= LEAST_VARIATION_DB)


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """Return at most so many items, picked at even distances."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def generated_clips(rate: int) -> list[Waveform]:
    """Return eight signals of 0.5 to 8 s that resemble speech."""
    seconds = (0.5, 1.0, 1.7, 2.3, 3.1, 4.0, 5.5, 8.0)
    return [speech_like(length, rate, seed) for seed, length in enumerate(seconds)]


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
