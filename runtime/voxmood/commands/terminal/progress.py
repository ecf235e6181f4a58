"""Progress of a long job: a bar on a terminal, and elsewhere a few lines, as a log needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from voxmood.commands.terminal.console import complain
from voxmood.commands.terminal.display import clock

T = TypeVar("T")

FIRST_SECONDS = 10.0
"""Time until the first line. Each later line comes after twice the time of the one before."""

MOST_SECONDS = 600.0
"""The longest time between two lines."""


def progress(done: Iterable[T], before: int, total: int) -> Iterator[T]:
    """Yield the items of an iterable, and show on standard error how many there were.

    Args:
        done: one item for each recording that is done.
        before: number of recordings that an earlier run has done.
        total: number of all recordings, including those.
    """
    if _on_a_terminal():
        yield from tqdm(done, initial=before, total=total, unit="file")
        return
    start = last = time.monotonic()
    wait = FIRST_SECONDS
    for count, each in enumerate(done, before + 1):
        yield each
        now = time.monotonic()
        if now - last >= wait and count < total:
            left = (now - start) / (count - before) * (total - count)
            complain(f"{count} of {total} recordings, {clock(left)} to go")
            last, wait = now, min(2 * wait, MOST_SECONDS)


class Steps:
    """Progress of a job whose steps have names.

    Elsewhere than on a terminal, a line says which step begins. Lines come as rarely as those of
    `progress`, so that a job of many short steps does not fill a log.

    Args:
        total: number of steps, or the sum of their sizes, as far as it is known.
    """

    def __init__(self, total: float = 0) -> None:
        self._bar = tqdm(
            total=total,
            bar_format="{l_bar}{bar}| {elapsed} {postfix}",
            disable=not _on_a_terminal(),
        )
        self._next, self._wait = 0.0, 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.close()

    def expect(self, total: float) -> None:
        """Set the number of steps, or the sum of their sizes."""
        self._bar.total = total

    def begin(self, step: str, done: float = 1) -> None:
        """Show the name of a step, and count a step of this size."""
        if not self._bar.disable:
            self._bar.set_postfix_str(step, refresh=False)
            self._bar.total = max(self._bar.total, self._bar.n + done)
            self._bar.update(done)
            return
        now = time.monotonic()
        if now >= self._next:
            complain(step)
            self._next, self._wait = now + self._wait, min(2 * self._wait, MOST_SECONDS)


def _on_a_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
