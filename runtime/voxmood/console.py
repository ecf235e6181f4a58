"""Standard output and error, whatever they can show and wherever they lead."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from contextlib import suppress

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
