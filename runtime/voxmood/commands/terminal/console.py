"""Standard output and standard error, for every encoding and every destination."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

INSTEAD = {"█": "#", "Δ": "d"}
"""Replacements for the special characters that voxmood prints, where they cannot be shown."""


def degrade() -> None:
    """Make both streams replace the characters that their encoding lacks, instead of failing.

    Characters of file names become escapes as in JSON, so that JSON output stays valid.
    """
    codecs.register_error("voxmood", _instead)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="voxmood")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop what decoders print themselves, while Python's own streams still work.

    libsndfile and mpg123 write remarks on damaged files straight to the file descriptors, so the
    remarks would appear between rows of JSON and inside progress bars. Our own messages already
    say what is wrong with a file.
    """
    with ExitStack() as undo:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper) and not _is_windows_console(stream):
                with suppress(io.UnsupportedOperation):  # the stream has no descriptor
                    undo.enter_context(_apart(name, stream))
        yield


def _is_windows_console(stream: io.TextIOWrapper) -> bool:
    """Return whether a stream is a console of Windows.

    Python writes Unicode to it, and not through the descriptor, which takes the bytes of some code
    page. So it cannot be given another descriptor.
    """
    return sys.platform == "win32" and stream.isatty()


@contextmanager
def _apart(name: str, stream: io.TextIOWrapper) -> Iterator[None]:
    """Give a Python stream a descriptor of its own, and send the old descriptor nowhere."""
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
    """Write what standard output still buffers.

    Raises:
        OSError: standard output cannot be written.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def complain(message: str) -> None:
    """Print a message to standard error, if standard error can be written."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"voxmood: {message}", file=sys.stderr, flush=True)


def settle() -> None:
    """Discard buffered output that cannot be written.

    Otherwise Python would try again when it exits, print that this failed, and change the exit
    status.
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
