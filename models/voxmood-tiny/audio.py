"""Recordings for training: reading them, varying them, and what can be measured in them."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

Samples = NDArray[np.float32]

LABELS = ("neu", "hap", "ang", "sad")
RATE = 16_000  # samples per second
HOP = 320  # samples between two frames of the network, 20 ms
RECEPTIVE = 400  # samples that one frame of the front end sees, 25 ms
MELS, LAGS = 40, 24  # sizes of the two halves of what is measured


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording in memory: 16 kHz mono samples, class index, speaker."""

    path: str
    samples: Samples
    label: int
    speaker: str


def read_corpus(folder: Path) -> list[Clip]:
    """Read every clip that a corpus' manifest.csv lists."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = []
    for row in tqdm(rows, desc=f"reading {folder.name}", leave=False):
        samples, rate = soundfile.read(folder / row["path"], dtype="float32")
        if rate != RATE or samples.ndim != 1:
            raise ValueError(f"{row['path']}: expected {RATE} Hz mono")
        clips.append(Clip(row["path"], samples, LABELS.index(row["label"]), row["speaker"]))
    return clips


def crop(clip: Clip, seconds: float, speed: float, rng: np.random.Generator) -> Samples:
    """A stretch of the clip at a random speed; a shorter clip is repeated or sits in silence."""
    factor = math.exp(rng.uniform(-1, 1) * math.log1p(speed))
    wanted = round(seconds * RATE)
    start = rng.integers(max(1, len(clip.samples) - round(wanted * factor) + 1))
    end = start + round(wanted * factor) + 1
    stretch: Samples = soxr.resample(clip.samples[start:end], RATE * factor, RATE, "LQ")[:wanted]
    if len(stretch) == wanted:
        return stretch
    if rng.random() < 0.5:
        return np.roll(np.resize(stretch, wanted), rng.integers(wanted))
    before = rng.integers(wanted - len(stretch) + 1)
    return np.pad(stretch, (before, wanted - len(stretch) - before))


def uniform(batch: int, low: float, high: float) -> Tensor:
    """One random number for each clip, as a column."""
    return low + (high - low) * torch.rand(batch, 1)


def chance(batch: int, probability: float) -> Tensor:
    """A column of booleans, one for each clip."""
    return torch.rand(batch, 1) < probability


def channel(x: Tensor, strength: float) -> Tensor:
    """Pass each clip through a random microphone, room, noise and codec.

    Done in the frequency domain, where all but the codec are products and sums.
    x: [clips, samples], any level.
    """
    batch, samples = x.shape
    tail = 6000  # samples of echo
    size = 2048 * math.ceil((samples + tail) / 2048)  # a length that the FFT is quick at
    spectrum = torch.fft.rfft(x, size)
    # Gains are smooth: work them out on a grid of an eighth of an octave and look them up.
    octaves = torch.arange(-5.5, 3.01, 0.125)[None]  # from 1 kHz
    hertz = torch.fft.rfftfreq(size, 1 / RATE).clamp(min=25)
    cell = ((hertz / 1000).log2().sub(octaves[0, 0]) / 0.125).round().long()
    decibels = strength * uniform(batch, -2, 2) * octaves.clamp(-3, 3)
    for _ in range(4):
        centre, width = uniform(batch, -4, 3), uniform(batch, 0.3, 1.5)
        bump = torch.exp(-(((octaves - centre) / width) ** 2))
        decibels = decibels + strength * uniform(batch, -6, 6) * bump
    low, high = uniform(batch, -4, -1.5), uniform(batch, 1.6, 2.9)
    band = -10 * torch.log10((1 + 4 ** (low - octaves)) * (1 + 2 ** (8 * (octaves - high))))
    decibels = decibels + torch.where(chance(batch, 0.3 * strength), band, 0)
    spectrum = spectrum * (10 ** (decibels / 20))[:, cell]
    echo = torch.randn(batch, tail)
    echo = echo * torch.exp(-torch.arange(tail) / RATE / uniform(batch, 0.02, 0.12))
    echo = echo / echo.norm(dim=1, keepdim=True) * uniform(batch, 0.1, 0.8)
    echo = echo * chance(batch, 0.4 * strength)
    spectrum = spectrum * (1 + torch.fft.rfft(echo, size))
    color = (2 ** (-octaves * uniform(batch, 0, 1)))[:, cell]  # white to brown
    noise = torch.view_as_complex(torch.randn(*spectrum.shape, 2)) * color
    level = 10 ** (-uniform(batch, 5, 50) / 20) * chance(batch, 0.8 * strength)
    level = level * torch.linalg.vector_norm(spectrum, dim=1, keepdim=True)
    spectrum = spectrum + noise * level / torch.linalg.vector_norm(noise, dim=1, keepdim=True)
    x = torch.fft.irfft(spectrum, size)[:, :samples]
    x = x / (x.abs().amax(dim=1, keepdim=True) + 1e-9)
    ceiling = torch.where(chance(batch, 0.1 * strength), uniform(batch, 0.2, 1), 1.0)
    x = x.clamp(-ceiling, ceiling)
    coded = torch.nonzero(chance(batch, 0.15 * strength)[:, 0])[:, 0]  # 8-bit mu-law
    y = torch.log1p(255 * x[coded].abs()) / math.log(256)
    y = torch.expm1((y * 127).round() / 127 * math.log(256)) / 255
    x[coded] = y * x[coded].sign()
    return x


def normalize(x: Tensor) -> Tensor:
    """Zero mean and unit variance of each clip, as Wav2Vec2FeatureExtractor does."""
    x = x - x.mean(dim=1, keepdim=True)
    return x / torch.sqrt(x.var(dim=1, keepdim=True, correction=0) + 1e-7)


def hearing(x: Tensor) -> Tensor:
    """What a listener would measure, for each frame of the network: the self-supervised target.

    A log-mel spectrum, and the autocorrelation at lags of 60 to 500 Hz, which shows pitch and
    voicing without the octave errors of a pitch tracker. Standardised over the batch.
    x: [clips, samples]; returned: [clips, frames, MELS + LAGS].
    """
    window = 2 * RECEPTIVE
    frames = functional.pad(x, (RECEPTIVE // 2, RECEPTIVE // 2)).unfold(1, window, HOP)
    power = torch.fft.rfft(frames * torch.hann_window(window, device=x.device), 1024).abs().square()
    hertz = torch.fft.rfftfreq(1024, 1 / RATE, device=x.device)
    mel = 2595 * torch.log10(1 + hertz / 700)
    centres = torch.linspace(100, 2800, MELS, device=x.device)
    filters = (1 - (mel[:, None] - centres).abs() / (centres[1] - centres[0])).clamp(min=0)
    spectrum = torch.log(power @ filters + 1e-3)
    correlation = torch.fft.irfft(power)
    lags = torch.logspace(math.log10(RATE / 500), math.log10(RATE / 60), LAGS).round().long()
    correlation = correlation[..., lags.to(x.device)] / (correlation[..., :1] + 1.0)
    target = torch.cat([spectrum, correlation], dim=-1)
    return (target - target.mean((0, 1))) / (target.std((0, 1)) + 1e-3)
