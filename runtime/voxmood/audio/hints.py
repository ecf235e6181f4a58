"""Hints about the name of a file that does not exist, where the name itself shows the mistake."""

from __future__ import annotations

import os
import re
from pathlib import PureWindowsPath

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://?\S")  # two letters or more; drives have only one


def is_url(name: str) -> bool:
    """Return whether a name begins as a URL does, and not as a drive of Windows, such as C://."""
    return bool(_SCHEME.match(name))


def missing_file_hint(name: str) -> str:
    """Return a sentence that explains why a path does not exist, or "" if nothing explains it.

    Args:
        name: the path as the caller gave it.
    """
    if name.startswith("file:/"):
        return "It is a URL; write the path alone, without `file://`."
    if _URL.match(name):
        return "It is a URL; download it first."
    if os.sep == "/" and "\\" in name and not PureWindowsPath(name).anchor:
        path = PureWindowsPath(name).as_posix()
        return f"It has backslashes, which part folders on Windows only; write {path}."
    if "*" in name or "?" in name:
        return "It is a pattern; a shell or `voxmood batch` puts the files that match in its place."
    if name.startswith("~"):
        known = os.path.expanduser(name)  # noqa: PTH111 - which raises where there is no such user
        place = f"; write {known}" if known != name else ""
        return f"Only a shell replaces `~` with the home folder, and only outside quotes{place}."
    return ""
