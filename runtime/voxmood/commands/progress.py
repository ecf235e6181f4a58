"""How far a long job is: a bar on a terminal, and now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from voxmood.commands.console import complain
from voxmood.commands.display import clock

T = TypeVar("T")

FIRST_SECONDS = 10.0  # before the first line; each takes twice as long to come as the one before
MOST_SECONDS = 600.0


def progress(done: Iterable[T], before: int, total: int) -> Iterator[T]:
    """Yield what is done, and show on standard error how much that is.

    Args:
        done: a recording's worth at a time.
        before: recordings that were done earlier.
        total: recordings, with those.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        yield from tqdm(done, initial=before, total=total, unit="file")
        return
    start = told = time.monotonic()
    wait = FIRST_SECONDS
    for count, each in enumerate(done, before + 1):
        yield each
        now = time.monotonic()
        if now - told >= wait and count < total:
            left = (now - start) / (count - before) * (total - count)
            complain(f"{count} of {total} recordings, {clock(left)} to go")
            told, wait = now, min(2 * wait, MOST_SECONDS)
