"""The storage of the Ray engine: folders of this machine and buckets, which Arrow opens."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import fs, parquet

from voxmood.archive.rows import Entry
from voxmood.archive.sources import Search
from voxmood.audio.listing import is_recording, suffix_of
from voxmood.errors import ClusterError, ManifestError, MissingFileError


def find_entries(source: str, search: Search) -> Iterator[Entry]:
    """Yield the recordings of a source, which may be a URI such as `s3://bucket/folder`.

    Raises:
        MissingFileError: the source is missing, or the URI has no recordings.
        AudioError: a folder of this machine holds no recordings.
        ManifestError: a manifest cannot be used, or a name is not UTF-8.
        ClusterError: the storage cannot be reached.
    """
    if "://" not in source:
        for entry in search.find(source):
            try:
                f"{entry.path}{entry.listed}".encode()
            except UnicodeEncodeError:
                raise ManifestError(
                    f"{entry.path}: its name is not UTF-8, which Parquet requires; rename it, or "
                    "use --engine local."
                ) from None
            yield entry
        return
    storage, path = open_storage(source)
    scheme = source.partition("://")[0]
    try:
        if storage.get_file_info(path).is_file:
            yield Entry(source)
            return
        below = storage.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    except OSError as error:
        raise unreachable(source, error) from error
    empty = True
    for file in below:
        name = posixpath.basename(file.path)
        if not file.is_file or name.startswith("."):
            continue
        if is_recording(name):
            empty = False
            yield Entry(f"{scheme}://{file.path}")
        else:
            search.skipped[suffix_of(name)] += 1
    if empty:
        raise MissingFileError(f"{source}: is missing or holds no recordings.")


def open_storage(location: str, root: str = ".") -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URI, and the path within that file system.

    Args:
        location: path or URI of a file or folder.
        root: folder to which a relative path is relative; by default the current folder.

    Raises:
        ClusterError: the storage cannot be reached.
    """
    scheme, mark, path = location.partition("://")
    if not mark:
        return fs.LocalFileSystem(), str(Path(root, location).absolute())
    try:
        # Only the bucket is parsed, because the rest may hold characters that a URI must escape.
        return fs.FileSystem.from_uri(f"{scheme}://{path.partition('/')[0]}")[0], path.rstrip("/")
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise unreachable(location, error) from error


def parts(storage: fs.FileSystem, folder: str) -> list[str]:
    """Return the paths of the Parquet files in a folder."""
    below = storage.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return [file.path for file in below if file.extension == "parquet"]


def recordings(storage: fs.FileSystem, part: str) -> Iterator[tuple[str, str | None]]:
    """Yield each recording in a Parquet file with its first error; delete a cut-off file."""
    try:
        with storage.open_input_file(part) as file:
            columns = parquet.read_table(file).select(["path", "error"]).to_pydict()
    except pyarrow.ArrowInvalid:  # the end of the file is missing
        storage.delete_file(part)
        return
    errors: dict[str, str | None] = {}
    for path, error in zip(columns["path"], columns["error"], strict=True):
        errors[path] = errors.get(path) or error
    yield from errors.items()


def unreachable(location: str, error: Exception) -> ClusterError:
    """Return the error for storage that does not answer."""
    return ClusterError(
        f"{location}: cannot be reached ({first_line(error)}). Set the credentials in the usual "
        "places, such as AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; set the "
        "region in AWS_REGION, and another endpoint in AWS_ENDPOINT_URL."
    )


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error, or its type if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
