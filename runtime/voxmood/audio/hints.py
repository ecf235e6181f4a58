"""What to do about a name that cannot be read, where the name itself tells."""

from __future__ import annotations

import os
import re

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://?\S")  # of more than a letter, unlike Windows' drives


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
