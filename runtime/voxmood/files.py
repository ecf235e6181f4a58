"""Output files: never one of the inputs, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from voxmood.errors import OutputError, VoxmoodError


def check_output(output: Path, inputs: Iterable[Path], *, inside: bool = False) -> None:
    """Check that an output is none of the inputs and holds none, whatever each of them is called.

    Devices and pipes, such as /dev/stdout, can be read and written at once and are not checked.

    Args:
        output: the file or folder to write, which need not exist.
        inputs: the files and folders to read.
        inside: also refuse an output that lies inside an input folder.

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
    """Check that the outputs of a command are none of its inputs, and each another file.

    Raises:
        OutputError: an output is an input, or two outputs are the same file.
    """
    for output in outputs:
        check_output(output, inputs)
    for one, other in combinations(outputs, 2):
        is_device = one.exists() and not one.is_file()
        if os.path.realpath(one) == os.path.realpath(other) and not is_device:
            raise OutputError(f"{other}: is named for two outputs; choose another for one of them.")


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, text as UTF-8, whole or not at all.

    Raises:
        VoxmoodError: it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():  # a pipe or a terminal, which has no halves
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
    except OSError:  # nothing is there, or nothing can be
        return 0


def _lies_in(path: Path, folder: Path) -> bool:
    return any(_same(parent, folder) for parent in Path(os.path.realpath(path)).parents)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist, or cannot be reached
        return os.path.realpath(one) == os.path.realpath(other)
