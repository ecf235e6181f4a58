"""What to do about a name that cannot be read, where the name itself tells."""

from __future__ import annotations

import os
import re

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://?\S")  # of more than a letter, unlike Windows' drives
_RAW = (".raw", ".pcm", ".sln", ".s16", ".s16le", ".f32", ".f32le", ".ul", ".ulaw", ".al", ".alaw")


def missing_file_hint(name: str) -> str:
    """Return a sentence about a path at which there is nothing, or "" where its name says nothing.

    Args:
        name: the path as it was given.
    """
    if name.startswith("file:/"):
        return "It is a URL; write the path alone, without `file://`."
    if _URL.match(name):
        return "It is a URL; download it first."
    if name.startswith("~"):
        known = os.path.expanduser(name)  # noqa: PTH111 - which raises where there is no such user
        place = f"; write {known}" if known != name else ""
        return f"`~` is the home folder to a shell alone, where it is not quoted{place}."
    return ""


def unreadable_file_hint(name: str) -> str:
    """Return a sentence about a file that is no audio, or "" where its name says nothing.

    Args:
        name: the path as it was given.
    """
    if os.path.splitext(name)[1].lower() not in _RAW:  # noqa: PTH122 - a name need not be a path
        return ""
    return (
        "Raw samples have no header that says their rate and type; convert them, for example "
        "`ffmpeg -f s16le -ar 16000 -ac 1 -i IN OUT.wav`, or pass an array: "
        "model.predict(numpy.fromfile(name, 'int16'), sampling_rate=16000)."
    )
