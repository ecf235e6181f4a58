"""Which recordings there are: those of a folder, or those that a CSV manifest lists."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voxmood.errors import AudioError, ManifestError, MissingFileError

READABLE = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"}
FOREIGN = {".m4a", ".aac", ".amr", ".wma", ".webm"}
"""Audio that libsndfile does not read; found all the same, so that it is reported as such."""


@dataclass(frozen=True)
class Recording:
    """A recording, and what is known of it.

    Attributes:
        name: its path as it was found or listed, relative to the folder.
        path: where it is; it need not exist nor be readable.
        label: the true one, if the manifest says so.
        speaker: who speaks, if the manifest says so.
    """

    name: str
    path: Path
    label: str | None = None
    speaker: str | None = None


def find_recordings(folder: Path) -> list[Recording]:
    """Recordings of a folder and its sub-folders, by their suffix, in the order of their names.

    Hidden files are left out.

    Raises:
        MissingFileError: there is no such folder.
        AudioError: there are no recordings in it.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder.")
    recordings = [
        Recording(str(path.relative_to(folder)), path)
        for path in sorted(map(Path, walk(os.fspath(folder))))
    ]
    if not recordings:
        raise AudioError(f"{folder}: holds no recordings ({', '.join(sorted(READABLE))}).")
    return recordings


def walk(folder: str) -> Iterator[str]:
    """Paths of the recordings of a folder and its sub-folders, as the system lists them.

    Raises:
        AudioError: a folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(entry.path)
                elif is_recording(entry.name) and not entry.is_dir():
                    yield entry.path
    except OSError as error:
        raise AudioError(f"{folder}: cannot be listed ({error.strerror}).") from error


def is_recording(name: str) -> bool:
    """Whether a file is audio by its suffix, and not hidden."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of very many, and may be a URI's
    return suffix in READABLE | FOREIGN and not name.startswith(".")


def read_manifest(manifest: Path, folder: Path) -> list[Recording]:
    """Recordings that a CSV file lists, in its order.

    Args:
        manifest: UTF-8, separated by commas, its first line the names of the columns: `path`,
            and where known `label` and `speaker`; others are left alone.
        folder: what the paths in it are relative to.

    Raises:
        MissingFileError: there is no such file.
        ManifestError: it is no CSV, has no `path`, an empty or repeated one, or no rows.
    """
    recordings: dict[str, Recording] = {}
    for line, recording in manifest_lines(manifest, folder):
        if recording.name in recordings:
            raise ManifestError(f"{manifest}: line {line} lists {recording.name} a second time.")
        recordings[recording.name] = recording
    return list(recordings.values())


def manifest_lines(manifest: Path, folder: Path) -> Iterator[tuple[int, Recording]]:
    """Yields the lines of a manifest by number, one at a time; as `read_manifest`, and may repeat.

    Raises:
        MissingFileError: there is no such file.
        ManifestError: it is no CSV, has no `path`, an empty one, or no rows.
    """
    if not manifest.is_file():
        raise MissingFileError(f"{manifest}: no such file.")
    line = 0
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a BOM
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or []
            if "path" not in columns:
                raise ManifestError(
                    f"{manifest}: has no column `path`; its first line must name the columns, "
                    f"separated by commas, and is {','.join(columns)[:80]!r}."
                )
            for row in rows:
                name, line = row["path"], rows.line_num
                if not name or None in row or None in row.values():
                    raise ManifestError(
                        f"{manifest}: line {line} does not have a cell for each of "
                        f"{','.join(columns)}."
                    )
                yield line, Recording(name, folder / name, row.get("label"), row.get("speaker"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"{manifest}: is not a CSV file in UTF-8 ({error}).") from None
    if not line:
        raise ManifestError(f"{manifest}: lists no recordings.")
