"""Windows of a waveform that arrives piece by piece."""

from __future__ import annotations

import heapq
import math
import numbers
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voxmood.audio import AudioReader, Waveform
from voxmood.errors import AudioError


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """A piece of a recording that is labeled by itself.

    Attributes:
        start: where it begins, in samples from the beginning.
        waveform: its samples, float32 [samples].
        ready: the number of samples of the recording after which it was known.
    """

    start: int
    waveform: Waveform
    ready: int


class Cutter(Protocol):
    """Cuts a waveform that arrives in any blocks into pieces, always the same ones."""

    def push(self, samples: Waveform) -> Iterator[Piece]:
        """Add samples, and yield the pieces that they complete, by `ready`."""
        ...

    def close(self) -> Iterator[Piece]:
        """Yield the pieces that the end of the waveform completes."""
        ...


class Lanes:
    """A cutter for each channel of a recording. The order of the pieces is always the same, too.

    Args:
        make: returns a new cutter.
    """

    def __init__(self, make: Callable[[], Cutter]) -> None:
        self._make = make
        self._cutters: dict[int | None, Cutter] = {}

    def push(
        self, numbers: Iterable[int | None], tracks: Iterable[Waveform]
    ) -> Iterator[tuple[int | None, Piece]]:
        """Add samples of each channel, and yield the pieces that they complete.

        Args:
            numbers: the number of each channel, or None for the mean of all.
            tracks: the samples of each channel, equally many.
        """
        pushed = []
        for number, samples in zip(numbers, tracks, strict=True):
            if number not in self._cutters:
                self._cutters[number] = self._make()
            pushed.append(_named(number, self._cutters[number].push(samples)))
        # Of pieces that are ready at the same time, those of the first channel come first.
        yield from heapq.merge(*pushed, key=lambda each: each[1].ready)

    def close(self) -> Iterator[tuple[int | None, Piece]]:
        """Yield the pieces that the end of the recording completes."""
        for number, cutter in self._cutters.items():
            yield from _named(number, cutter.close())

    def over(
        self, reader: AudioReader, blocks: Iterable[list[Waveform]]
    ) -> Iterator[tuple[int | None, Piece]]:
        """Yield all pieces of a recording, which is read from blocks of its tracks."""
        for tracks in blocks:
            yield from self.push(reader.numbers, tracks)
        yield from self.close()


def _named(number: int | None, pieces: Iterable[Piece]) -> Iterator[tuple[int | None, Piece]]:
    for piece in pieces:
        yield number, piece


class Limits(Protocol):
    """What the windows must know about the model: its sampling rate and the samples of one run."""

    @property
    def sampling_rate(self) -> int: ...  # noqa: D102
    @property
    def min_samples(self) -> int: ...  # noqa: D102
    @property
    def max_samples(self) -> int: ...  # noqa: D102


class Windows:
    """Windows of equal length at equal steps, whatever pieces the waveform comes in.

    Window number k begins after k hops. The last window ends where the waveform ends and is not
    padded. It exists only if the window before it did not reach the end of the waveform, and if the
    rest is long enough for the model.

    Args:
        window: the length of a window, in seconds.
        hop: the time from the start of one window to the start of the next, in seconds.
        bundle: states the sampling rate, and the shortest and longest waveform of the model.

    Raises:
        AudioError: the model does not take such a window, or the hop is shorter than a sample.
    """

    def __init__(self, window: float, hop: float, bundle: Limits) -> None:
        for what, seconds in (("window", window), ("hop", hop)):
            if not isinstance(seconds, numbers.Real) or isinstance(seconds, bool):
                raise AudioError(f"a {what} of {seconds!r}: pass a number of seconds.")
        rate = bundle.sampling_rate
        low, high = bundle.min_samples / rate, bundle.max_samples / rate
        if not low <= window <= high:
            raise AudioError(
                f"a window of {window:g} s: the model takes {math.ceil(1000 * low) / 1000:g} to "
                f"{high:g} s."
            )
        if not 1 / rate <= hop < float("inf"):
            raise AudioError(f"a hop of {hop:g} s: must be at least one sample long, and finite.")
        self._length, self._hop = round(window * rate), round(hop * rate)
        self._shortest = bundle.min_samples
        self._pieces: list[Waveform] = []
        self._held = 0  # samples in the pieces; the first one is where the next window begins
        self._start = 0  # where the next window begins
        self._skip = 0  # samples still to come before the next window
        self._reached = 0  # where the last window ended

    def push(self, samples: Waveform) -> Iterator[Piece]:
        """Add samples, and yield each window that they complete."""
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        self._pieces.append(samples[skipped:])
        self._held += len(samples) - skipped
        if self._held < self._length:
            return
        held = np.concatenate(self._pieces)
        while len(held) >= self._length:
            self._reached = self._start + self._length
            yield Piece(self._start, held[: self._length], self._reached)
            self._start += self._hop
            self._skip = max(0, self._hop - len(held))
            held = held[self._hop :]
        self._pieces = [held.copy()]  # a view would keep the whole array in memory
        self._held = len(held)

    def close(self) -> Iterator[Piece]:
        """Yield the window that the end of the waveform cuts short, if there is one."""
        if self._held >= self._shortest and self._start + self._held > self._reached:
            end = self._start + self._held
            yield Piece(self._start, np.concatenate(self._pieces), end)
