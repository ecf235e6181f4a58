"""Cuts a waveform that arrives piece by piece into windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from voxmood.audio import Waveform
from voxmood.errors import AudioError


class Limits(Protocol):
    """What the windows must know about the model: its sampling rate and the samples of one run."""

    @property
    def sampling_rate(self) -> int: ...  # noqa: D102
    @property
    def min_samples(self) -> int: ...  # noqa: D102
    @property
    def max_samples(self) -> int: ...  # noqa: D102


class Windows:
    """Windows of one length at even steps, whatever pieces the waveform comes in.

    Window k begins at k hops. The last one is cut where the waveform ends and not padded: it
    begins in its turn, and is there only if the one before it did not reach the end and the model
    takes what is left.

    Args:
        window: length in seconds.
        hop: from start to start, in seconds.
        bundle: says the rate, and the shortest and longest waveform that the model takes.

    Raises:
        AudioError: the model does not take such a window, or the hop is not positive.
    """

    def __init__(self, window: float, hop: float, bundle: Limits) -> None:
        rate = bundle.sampling_rate
        low, high = bundle.min_samples / rate, bundle.max_samples / rate
        if not low <= window <= high:
            raise AudioError(f"a window of {window:g} s: the model takes {low:g} to {high:g} s.")
        if not 1 / rate <= hop < float("inf"):
            raise AudioError(f"a hop of {hop:g} s: it must be at least a sample.")
        self._length, self._hop = round(window * rate), round(hop * rate)
        self._shortest = bundle.min_samples
        self._pieces: list[Waveform] = []
        self._held = 0  # samples in the pieces, which begin where the next window does
        self._start = 0  # of the next window
        self._skip = 0  # samples still to come before it
        self._reached = 0  # where the last window ended

    def push(self, samples: Waveform) -> Iterator[tuple[int, Waveform]]:
        """Takes samples; yields the start and the samples of each window that they complete."""
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        self._pieces.append(samples[skipped:])
        self._held += len(samples) - skipped
        if self._held < self._length:
            return
        held = np.concatenate(self._pieces)
        while len(held) >= self._length:
            yield self._start, held[: self._length]
            self._reached = self._start + self._length
            self._start += self._hop
            self._skip = max(0, self._hop - len(held))
            held = held[self._hop :]
        self._pieces = [held.copy()]  # a view would keep all that it is a part of
        self._held = len(held)

    def close(self) -> Iterator[tuple[int, Waveform]]:
        """Yields the window that the end of the waveform cuts short, if there is one."""
        if self._held >= self._shortest and self._start + self._held > self._reached:
            yield self._start, np.concatenate(self._pieces)

    def over(self, pieces: Iterable[Waveform]) -> Iterator[tuple[int, Waveform]]:
        """Yields all windows of a waveform."""
        for piece in pieces:
            yield from self.push(piece)
        yield from self.close()
