"""Standard output and error, whatever they can show and wherever they lead."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

INSTEAD = {"█": "#", "Δ": "d"}
"""What stands for characters of our own where they cannot be shown."""


def degrade() -> None:
    """Make both streams write what their encoding lacks in another way, where they would fail.

    Characters of file names become escapes as in JSON, so that JSON stays JSON.
    """
    codecs.register_error("voxmood", _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="voxmood")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what decoders print themselves off both streams, which go on to where they led.

    libsndfile and mpg123 write remarks on damaged files straight to the descriptors: between rows
    of JSON, and through progress bars. What is wrong with a file is told with it.
    """
    with ExitStack() as undo:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper):
                with suppress(io.UnsupportedOperation):  # of a stream without a descriptor
                    undo.enter_context(_apart(name, stream))
        yield


@contextmanager
def _apart(name: str, stream: io.TextIOWrapper) -> Iterator[None]:
    """Give a stream of Python's a descriptor of its own, and lead the old one nowhere."""
    stream.flush()
    descriptor = stream.fileno()
    copy = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    own = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(copy, "w")),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
    )
    try:
        os.dup2(nowhere, descriptor)
        setattr(sys, name, own)
        yield
    finally:
        setattr(sys, name, stream)
        os.dup2(copy, descriptor)
        os.close(nowhere)
        own.close()


def flush() -> None:
    """Write what standard output still holds.

    Raises:
        OSError: it cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def complain(message: str) -> None:
    """Print a message to standard error, if anything can be printed there."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"voxmood: {message}", file=sys.stderr, flush=True)


def settle() -> None:
    """Send what cannot be written nowhere.

    Python would try it once more when it ends, print that it failed, and change the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _instead(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(INSTEAD.get(each) or json.dumps(each)[1:-1] for each in missing), error.end
