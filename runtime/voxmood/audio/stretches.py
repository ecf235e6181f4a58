"""Stretches of speech in a waveform that arrives piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from voxmood.audio.sources import Waveform
from voxmood.audio.speech import speech_samples
from voxmood.audio.windows import Cutter, Limits, Piece, Windows
from voxmood.errors import AudioError

FRAME_SECONDS = 0.032
BEGIN, GO_ON = 0.5, 0.2
"""The probabilities from which on a frame begins a stretch, and counts as speech within one."""
PAUSE_FRAMES = 16
"""A pause of half a second ends a stretch; what a shorter one separates is joined."""
EDGE_FRAMES = 7
"""What is added on both sides, since detectors find soft beginnings and ends late or not at all."""
SURE_FRAMES = 5
"""Within a stretch, so many frames after one of speech count as speech unless they are silent. The
detector, which takes longer than a small model, is then asked a sixth as often."""
SHORTEST_SECONDS = 1.0
LEAST_FRAMES = 3
"""A stretch with fewer frames of speech is taken for a click."""

Detector: TypeAlias = Callable[[Waveform], float]
"""Returns the probability of speech in the next 32 ms of a waveform, float32 [samples]."""

Detectors: TypeAlias = Callable[[], Detector]
"""Begins a detector, for a channel of a recording."""


@dataclass(frozen=True, slots=True)
class _Frame:
    samples: Waveform
    level: float


def cutters(
    window: float, hop: float, speech: bool | Detectors, bundle: Limits
) -> Callable[[], Cutter]:
    """Return what makes a cutter for each channel: windows, or stretches of speech.

    Args:
        window: the length of a window, or of the longest stretch, in seconds.
        hop: the time from the start of one window to the start of the next, in seconds.
        speech: whether to look for speech; or what begins a detector instead of Silero's.
        bundle: states the sampling rate, and the shortest and longest waveform of the model.

    Raises:
        AudioError: the model does not take such a window, or Silero's detector not its rate.
        MissingExtraError: the extra `vad` is not installed.
    """
    Windows(window, hop, bundle)  # raises now, and not when the first block is read
    if speech is False:
        return lambda: Windows(window, hop, bundle)
    if callable(speech):
        begin = speech
    else:
        from voxmood.audio.vad import RATE, silero

        if bundle.sampling_rate != RATE:
            raise AudioError(
                f"Silero's detector takes {RATE} Hz, and the model {bundle.sampling_rate} Hz; pass "
                "another detector as speech=."
            )
        begin = silero
    return lambda: Stretches(window, bundle, begin())


class Stretches:
    """Stretches of speech between a second and the window in length, whatever the blocks are.

    A stretch begins and ends a little before and after what the detector finds. Pauses of up to
    half a second belong to it. A shorter one than a second goes on with what follows it. A longer
    one than the window is split where its second half is softest. Frames below the level gate are
    not shown to the detector.

    Args:
        window: the length of the longest stretch, in seconds.
        bundle: states the sampling rate, and the shortest and longest waveform of the model.
        detector: returns the probability of speech in a frame.

    Raises:
        AudioError: the model does not take such a window.
    """

    def __init__(self, window: float, bundle: Limits, detector: Detector) -> None:
        Windows(window, window, bundle)
        rate = bundle.sampling_rate
        self._rate = rate
        self._least = bundle.min_samples
        self._detector = detector
        self._size = round(FRAME_SECONDS * rate)
        self._longest = max(1, int(window * rate) // self._size)
        shortest = max(SHORTEST_SECONDS * rate, bundle.min_samples)
        self._shortest = min(self._longest, -(-int(shortest) // self._size))
        self._rest = np.zeros(0, np.float32)
        self._frames = deque[_Frame]()
        self._first = 0  # the number of the first frame that is held
        self._next = 0  # the number of the next frame
        self._start: int | None = None  # where a stretch begins, if one is open
        self._heard = 0  # where its last frame of speech ends
        self._count = 0  # its frames of speech
        self._sure = 0  # frames that count as speech without asking the detector
        self._cut = 0  # where the last stretch ended

    def push(self, samples: Waveform) -> Iterator[Piece]:
        """Add samples, and yield the stretches that they complete."""
        held = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        whole = len(held) // self._size * self._size
        for at in range(0, whole, self._size):
            yield from self._take(held[at : at + self._size].copy())
        self._rest = held[whole:].copy()

    def close(self) -> Iterator[Piece]:
        """Yield the stretch that the end of the waveform completes."""
        if len(self._rest):
            yield from self._take(self._rest)
        if self._start is not None:
            end = max(self._heard + EDGE_FRAMES, self._start + self._shortest)
            yield from self._end(min(end, self._next))

    def _take(self, samples: Waveform) -> Iterator[Piece]:
        number = self._next
        self._next += 1
        self._frames.append(_Frame(samples, float(np.square(samples).mean())))
        if self._is_speech(samples):
            if self._start is None:
                self._start, self._count = max(self._cut, number - EDGE_FRAMES), 0
                self._start = max(self._start, self._first)
            self._heard = self._next
            self._count += 1
        if self._start is None:
            self._forget(self._next - self._shortest - EDGE_FRAMES)
            return
        paused = self._next - self._heard >= PAUSE_FRAMES
        if paused and self._next >= self._start + self._shortest:
            # What follows the speech belongs to it only where it would be too short otherwise.
            yield from self._end(max(self._heard + EDGE_FRAMES, self._start + self._shortest))
        elif self._next - self._start >= self._longest:
            yield from self._split()

    def _is_speech(self, samples: Waveform) -> bool:
        if not speech_samples(samples, self._rate):
            self._sure = 0
            return False
        if self._sure:
            self._sure -= 1
            return True
        full = np.pad(samples, (0, self._size - len(samples)))
        chance = self._detector(full)
        is_open = self._start is not None
        if chance >= BEGIN and is_open and self._count >= LEAST_FRAMES:
            self._sure = SURE_FRAMES
        return chance >= (GO_ON if is_open else BEGIN)

    def _end(self, end: int) -> Iterator[Piece]:
        """Yield the open stretch, up to a frame, and close it."""
        assert self._start is not None
        start = min(self._start, max(self._first, end - self._shortest))  # the recording's end
        piece = self._piece(start, end)
        if self._count >= LEAST_FRAMES and len(piece.waveform) >= self._least:
            yield piece
            self._cut = end
        self._start = None
        self._forget(self._next - self._shortest - EDGE_FRAMES)

    def _split(self) -> Iterator[Piece]:
        """Yield the open stretch up to its softest place, and go on with the rest of it."""
        assert self._start is not None
        low = self._start + self._longest // 2
        levels = [frame.level for frame in self._frames][low - self._first :]
        cut = low + int(np.argmin(levels)) + 1 if self._heard > low else self._heard
        cut = min(max(cut, self._start + self._shortest), self._next)
        if self._heard <= cut:  # only a pause follows
            yield from self._end(self._next)
            return
        yield self._piece(self._start, cut)
        self._start = self._cut = cut
        self._count = LEAST_FRAMES  # it goes on
        self._forget(cut - self._shortest)

    def _piece(self, start: int, end: int) -> Piece:
        frames = list(self._frames)[start - self._first : end - self._first]
        waveform = np.concatenate([frame.samples for frame in frames])
        return Piece(start * self._size, waveform, self._next * self._size)

    def _forget(self, before: int) -> None:
        while self._first < before:
            self._frames.popleft()
            self._first += 1
