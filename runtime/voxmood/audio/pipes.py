"""What a pipe gives, kept so that it can be read as a file: decoders go back and forth."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import BinaryIO, cast

from voxmood.errors import AudioError

MAX_PIPE_BYTES = 1 << 30  # more than 9 hours of 16 kHz PCM
MEMORY_BYTES = 16 << 20  # what is larger goes into a temporary file
BLOCK_BYTES = 1 << 20


def seekable(file: BinaryIO, name: str) -> BinaryIO:
    """Read a pipe, a FIFO or the like to its end, into a file that can be sought in.

    Args:
        file: opened for reading bytes; it is read from where it is, and left open.
        name: what to call it in messages.

    Returns:
        The same bytes from their beginning: in memory as long as they are few, then in a temporary
        file, which is gone once it is closed.

    Raises:
        AudioError: there are more than `MAX_PIPE_BYTES`, or they cannot be read or kept.
    """
    taken = 0
    with ExitStack() as opened:
        copy = opened.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES))
        try:
            while block := file.read(min(BLOCK_BYTES, MAX_PIPE_BYTES + 1 - taken)):
                taken += len(block)
                if taken > MAX_PIPE_BYTES:
                    raise AudioError(
                        f"{name}: gives more than {MAX_PIPE_BYTES} bytes, the most that is taken "
                        "from a pipe; write it to a file and name that."
                    )
                copy.write(block)
            copy.seek(0)
        except OSError as error:
            raise AudioError(f"{name}: cannot be read or kept ({error.strerror}).") from error
        opened.pop_all()  # it stays open for the caller
    return cast(BinaryIO, copy)
