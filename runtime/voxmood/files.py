"""Output files, which are never one of the inputs, and are written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from voxmood.errors import OutputError, VoxmoodError


def check_output(output: Path, inputs: Iterable[Path], *, inside: bool = False) -> None:
    """Check that an output is not one of the inputs and does not contain one.

    Two names of the same file count as the same. Devices and pipes, such as /dev/stdout, are not
    checked, since they can be read and written at once.

    Args:
        output: the file or folder to write, which need not exist.
        inputs: the files and folders to read.
        inside: whether to refuse an output inside an input folder, too.

    Raises:
        OutputError: the output is an input, or one of the two lies inside the other.
    """
    if _is_device(output):
        return
    folder = stat.S_ISDIR(_mode(output))
    for path in inputs:
        if _same(output, path):
            raise OutputError(f"{output}: is also an input ({path}); choose another output.")
        if inside and _lies_in(output, path):
            raise OutputError(f"{output}: lies inside an input ({path}); choose another output.")
        if folder and _lies_in(path, output):
            raise OutputError(f"{output}: an input ({path}) lies inside it; choose another output.")


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Check that no output of a command is also an input, and that no two outputs are one file.

    Raises:
        OutputError: an output is an input, or two outputs are the same file.
    """
    for output in outputs:
        check_output(output, inputs)
    for one, other in combinations(outputs, 2):
        is_device = one.exists() and not one.is_file()
        if _place(one) == _place(other) and not is_device:
            raise OutputError(f"{other}: is named for two outputs; choose another file for one.")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        content: the bytes, or text, which is written as UTF-8.

    Raises:
        VoxmoodError: the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():  # a pipe or a terminal cannot be replaced
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise VoxmoodError(f"{path}: cannot be written ({error.strerror}).") from error


def _is_device(path: Path) -> bool:
    mode = _mode(path)
    return mode != 0 and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:  # the path does not exist, or cannot exist
        return 0


def _lies_in(path: Path, folder: Path) -> bool:
    return any(_same(parent, folder) for parent in Path(os.path.realpath(path)).parents)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist, or cannot be reached
        return _place(one) == _place(other)


def _place(path: Path) -> str:
    """Return where a path leads, in a form in which equal places are equal texts."""
    return os.path.normcase(os.path.realpath(path))
