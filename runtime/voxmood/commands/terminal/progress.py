"""Progress of a long job: a bar on a terminal, and elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
    if sys.stderr is not None and sys.stderr.isatty():
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
