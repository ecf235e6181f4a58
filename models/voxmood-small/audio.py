"""Variation of recordings in batches on one device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE = 16_000  # samples per second


def uniform(like: Tensor, low: float, high: float) -> Tensor:
    """Return one random number for each clip, as a column."""
    return low + (high - low) * torch.rand(len(like), 1, device=like.device)


def chance(like: Tensor, probability: float) -> Tensor:
    """Return a column of booleans, one for each clip."""
    return torch.rand(len(like), 1, device=like.device) < probability


def read_at(samples: Tensor, first: Tensor, last: Tensor, position: Tensor) -> Tensor:
    """Interpolate a long recording at fractional positions, by the cubic of Catmull and Rom.

    samples: int16 [all samples]; first, last: int64 [clips, 1], where each clip lies in it;
    position: float64 or float32 [clips, samples], counted from `first`. Beyond a clip is silence.
    """
    whole = position.floor()
    part = (position - whole).float()
    index = first + whole.long()
    taps = []
    for offset in (-1, 0, 1, 2):
        there = index + offset
        valid = (there >= first) & (there < last)
        value = samples[there.clamp(0, len(samples) - 1)].float() / 32768
        taps.append(torch.where(valid, value, 0.0))
    a, b, c, d = taps
    slope = part * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))
    return b + 0.5 * slope


def channel(x: Tensor, strength: float) -> Tensor:
    """Pass each clip through a random microphone, room, noise, other talkers, clipping and codec.

    Done in the frequency domain, where all but clipping and codec are products and sums.
    x: [clips, samples], any level.
    """
    samples, device = x.shape[1], x.device
    tail = 6000  # samples of echo
    size = 2048 * math.ceil((samples + tail) / 2048)  # a length that the FFT is quick at
    talkers = x.roll(1, 0) / (x.roll(1, 0).norm(dim=1, keepdim=True) + 1e-6)
    talkers = talkers * x.norm(dim=1, keepdim=True) * 10 ** (-uniform(x, 8, 25) / 20)
    x = x + talkers * chance(x, 0.1 * strength)
    spectrum = torch.fft.rfft(x, size)
    # Gains are smooth: work them out on a grid of an eighth of an octave and look them up.
    octaves = torch.arange(-5.5, 3.01, 0.125, device=device)[None]  # from 1 kHz
    hertz = torch.fft.rfftfreq(size, 1 / RATE, device=device).clamp(min=25)
    cell = ((hertz / 1000).log2().add(5.5) / 0.125).round().long()
    decibels = strength * uniform(x, -2.5, 2.5) * octaves.clamp(-3, 3)
    for _ in range(4):
        center, width = uniform(x, -4, 3), uniform(x, 0.3, 1.5)
        bump = torch.exp(-(((octaves - center) / width) ** 2))
        decibels = decibels + strength * uniform(x, -7, 7) * bump
    low, high = uniform(x, -4, -1.5), uniform(x, 1.6, 2.9)
    band = -10 * torch.log10((1 + 4 ** (2 * (low - octaves))) * (1 + 2 ** (12 * (octaves - high))))
    decibels = decibels + torch.where(chance(x, 0.3 * strength), band, 0)
    spectrum = spectrum * (10 ** (decibels / 20))[:, cell]
    echo = torch.randn(len(x), tail, device=device)
    echo = echo * torch.exp(-torch.arange(tail, device=device) / RATE / uniform(x, 0.02, 0.12))
    echo = echo / echo.norm(dim=1, keepdim=True) * uniform(x, 0.1, 1.0)
    echo = echo * chance(x, 0.4 * strength)
    spectrum = spectrum * (1 + torch.fft.rfft(echo, size))
    color = (2 ** (-octaves * uniform(x, 0, 1)))[:, cell]  # white to brown
    noise = torch.view_as_complex(torch.randn(*spectrum.shape, 2, device=device)) * color
    level = 10 ** (-uniform(x, 5, 50) / 20) * chance(x, 0.8 * strength)
    level = level * torch.linalg.vector_norm(spectrum, dim=1, keepdim=True)
    spectrum = spectrum + noise * level / torch.linalg.vector_norm(noise, dim=1, keepdim=True)
    x = torch.fft.irfft(spectrum, size)[:, :samples]
    x = x / (x.abs().amax(dim=1, keepdim=True) + 1e-9)
    ceiling = torch.where(chance(x, 0.1 * strength), uniform(x, 0.2, 1), 1.0)
    x = x.clamp(-ceiling, ceiling)
    coded = torch.log1p(255 * x.abs()) / math.log(256)  # 8-bit mu-law
    coded = torch.expm1((coded * 127).round() / 127 * math.log(256)) / 255 * x.sign()
    return torch.where(chance(x, 0.1 * strength), coded, x)


def normalize(x: Tensor, heard: Tensor) -> Tensor:
    """Bring what is heard of each clip to zero mean and unit variance, and the rest to zero.

    As Wav2Vec2FeatureExtractor does. x: [clips, samples]; heard: booleans of the same shape.
    """
    count = heard.sum(dim=1, keepdim=True)
    x = torch.where(heard, x, 0.0)
    x = torch.where(heard, x - x.sum(dim=1, keepdim=True) / count, 0.0)
    return x / torch.sqrt(x.square().sum(dim=1, keepdim=True) / count + 1e-7)
