"""The output of an export, which replaces a bundle or nothing, as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxmood import VoxmoodError
from voxmood.audio.listing import find_recordings
from voxmood.bundle.description import DESCRIPTION, PRECISIONS, model_file, read_bundle
from voxmood.errors import OutputError
from voxmood.files import check_output
from voxmood_export.errors import ExportError, OutputExistsError

BUNDLE_FILES = {DESCRIPTION} | {
    name
    for precision in PRECISIONS
    for name in (model_file(precision), f"{model_file(precision)}.data")
}


FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # not all systems have quotas


def check_bundle_output(output: Path, source: str, audio: Path | None, *, force: bool) -> None:
    """Check, before any work, that a bundle can be written.

    Args:
        output: the bundle's folder.
        source: the checkpoint. If it is a folder, the output must not be that folder or hold it.
        audio: the folder of recordings, which the output must not be or hold.
        force: whether a bundle that already exists is replaced.

    Raises:
        OutputError: the output is an input or the current folder, or cannot be made.
        OutputExistsError: the output already exists, and is not a bundle or `force` is not set.
    """
    try:
        if output.is_dir() and output.samefile(Path.cwd()):
            raise OutputError(f"{output}: is the current folder; name a new folder for the bundle.")
        if Path(source).is_dir():
            check_output(output, [Path(source)])
        if audio:
            check_output(output, [audio])
        _check_replaceable(output, force=force)
        _check_parents(output)
    except VoxmoodError:
        raise
    except OSError as error:  # of a name that is too long, for instance
        raise OutputError(f"{output}: cannot be written ({error.strerror}).") from error


def check_report_output(path: Path, source: str, output: Path, audio: Path | None) -> None:
    """Check, before any work, that a report of the export can be written to a file.

    Raises:
        OutputError: the file belongs to the checkpoint, the bundle or the recordings, or cannot be
            made.
    """
    if Path(source).is_dir():
        check_output(path, [Path(source)], inside=True)
    try:
        check_output(path, [output], inside=True)
    except OutputError:
        raise OutputError(f"{path}: belongs to the bundle {output}; choose another file.") from None
    if audio and path.is_file():
        check_output(path, (recording.path for recording in find_recordings(audio)))
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file.")
    if not path.exists() or path.is_file():  # and no pipe or terminal
        _check_parents(path)


def _check_replaceable(output: Path, *, force: bool) -> None:
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise OutputExistsError(
            f"{output}: already exists and is not a folder; choose another name."
        )
    others = sorted(
        path.name for path in output.iterdir() if path.name not in BUNDLE_FILES or path.is_dir()
    )
    if others:
        raise OutputExistsError(
            f"{output}: already exists and holds {others[0]!r}, which does not belong to a bundle; "
            "choose another name."
        )
    try:
        read_bundle(output)
    except VoxmoodError as error:
        raise OutputExistsError(
            f"{output}: already exists and is not a bundle ({str(error).rstrip('.')}); choose "
            "another name."
        ) from error
    if not force:
        raise OutputExistsError(f"{output}: already exists; pass --force to replace it.")


def _check_parents(path: Path) -> None:
    """Check that a file or folder can be made at a path."""
    parents = Path(os.path.realpath(path)).parents
    parent = next((folder for folder in parents if os.path.lexists(folder)), None)
    if parent is None:  # on Windows
        raise OutputError(f"{path}: its drive does not exist; choose another place.")
    if not parent.is_dir():
        raise OutputError(f"{path}: {parent} is not a folder; choose another place.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: {parent} is not writable; choose another place.")


@contextmanager
def whole_or_not_at_all(output: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to the output at the end and deleted on any error.

    Raises:
        OutputExistsError: someone else has made the output in the meantime.
        ExportError: the disk is full or not writable.
    """
    target = Path(os.path.realpath(output))  # a link to a bundle stays one
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".voxmood-", dir=target.parent, ignore_cleanup_errors=True
        ) as temporary:
            folder = Path(temporary, "bundle")
            folder.mkdir()
            yield folder
            _check_replaceable(target, force=force)
            _replace(target, folder, Path(temporary, "replaced"))
    except VoxmoodError as error:
        if folder is None or str(folder) not in str(error):
            raise
        raise type(error)(str(error).replace(str(folder), str(output))) from error
    except OSError as error:
        raise ExportError(_not_written(output, target.parent, error)) from error
    except Exception as error:  # a full disk makes ONNX Runtime and protobuf raise their own errors
        if _is_full(target.parent):
            raise ExportError(_not_written(output, target.parent, error)) from error
        raise


def _replace(target: Path, folder: Path, old: Path) -> None:
    """Put a folder in the place of another one, which comes back if that fails."""
    if not target.exists():
        folder.rename(target)
        return
    try:
        target.rename(old)
    except PermissionError as error:  # on Windows, where files that are open cannot be moved
        raise OutputError(
            f"{target}: cannot be replaced ({error.strerror}), and was left as it is; close every "
            "program that has loaded it, or choose another name."
        ) from error
    try:
        folder.rename(target)
    except BaseException:
        old.rename(target)
        raise


def _not_written(output: Path, place: Path, error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno in FULL
    if full or _is_full(place):
        return (
            f"{output}: the disk is full; nothing was written. Exporting needs about three times "
            "the checkpoint's size there."
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{output}: cannot be written ({reason}); nothing was written."


def _is_full(place: Path) -> bool:
    return place.is_dir() and shutil.disk_usage(place).free < 1 << 20
