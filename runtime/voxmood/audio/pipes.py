"""Copies of what comes from a pipe, because decoders go back and forth in a file."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import BinaryIO, cast

from voxmood.errors import AudioError

MAX_PIPE_BYTES = 1 << 30  # more than 9 hours of 16 kHz PCM
MEMORY_BYTES = 16 << 20  # what is larger goes into a temporary file
BLOCK_BYTES = 1 << 20


def seekable(file: BinaryIO, name: str) -> BinaryIO:
    """Read a pipe to its end and return its bytes as a file that can go back and forth.

    Args:
        file: the pipe, opened for reading bytes; it is read from its present position on, and stays
            open.
        name: the name of the pipe in messages.

    Returns:
        A file with the same bytes, at its beginning. It is in memory while it is small, and else in
        a temporary file, which is deleted when it is closed.

    Raises:
        AudioError: there are more than `MAX_PIPE_BYTES`, or they cannot be read or stored.
    """
    taken = 0
    with ExitStack() as opened:
        copy = opened.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES))
        try:
            while block := file.read(min(BLOCK_BYTES, MAX_PIPE_BYTES + 1 - taken)):
                taken += len(block)
                if taken > MAX_PIPE_BYTES:
                    raise AudioError(
                        f"{name}: has more than {MAX_PIPE_BYTES} bytes, which is the limit for a "
                        "pipe; write it to a file and name that file."
                    )
                copy.write(block)
            copy.seek(0)
            if failure := getattr(file, "failure", None):
                raise AudioError(f"{name}: cannot be read to its end ({failure}).")
        except OSError as error:
            raise AudioError(f"{name}: cannot be read or stored ({error.strerror}).") from error
        opened.pop_all()  # it stays open for the caller
    return cast(BinaryIO, copy)
