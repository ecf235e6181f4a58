"""Lists of recordings: those in a folder, or those in a CSV manifest."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from voxmood.audio.formats import SUFFIXES
from voxmood.audio.hints import missing_file_hint
from voxmood.errors import AudioError, ManifestError, MissingFileError

MOST_SUFFIXES = 5
"""The largest number of suffixes of skipped files that a message names."""


@dataclass(frozen=True)
class Recording:
    """A recording that was found or listed, and what is known about it.

    Attributes:
        name: the path as it was found or listed, relative to the folder.
        path: where the recording is; it need not exist nor be readable.
        label: the true label, if the manifest states it.
        speaker: who speaks, if the manifest states it.
        columns: all other cells of its line in the manifest, by the name of the column.
        listed: the manifest and the line that list it; empty if it was found in a folder.
        times: where its stretch starts and ends, as the manifest's columns `start` and `end` say;
            None if all of it is meant.
    """

    name: str
    path: Path
    label: str | None = None
    speaker: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    listed: str = ""
    times: tuple[float, float] | None = None


def choose_recordings(
    audio: str | os.PathLike[str] | None,
    manifest: str | os.PathLike[str] | None,
    skipped: Counter[str],
) -> list[Recording]:
    """Return the recordings in a folder, or those that a manifest lists.

    Args:
        audio: the folder; with a manifest, the folder that its paths are relative to.
        manifest: the CSV file; if `audio` is None, its paths are relative to its own folder, or to
            the current folder if it is a stream; see `is_stream`.
        skipped: is increased by the number of files in the folder that are not recordings, by
            their suffix.

    Raises:
        MissingFileError: the folder or the manifest does not exist, or neither is given.
        AudioError: the folder has no recordings.
        ManifestError: the manifest cannot be used.
    """
    for name, given in (("audio", audio), ("manifest", manifest)):
        if given is not None and not os.fspath(given):
            raise MissingFileError(f"{name}: the name is empty; is a variable not set?")
    if manifest is not None:
        file = Path(manifest)
        return read_manifest(file, folder_of(file) if audio is None else Path(audio))
    if audio is None:
        raise MissingFileError("no recordings are named; give audio, manifest or both.")
    return find_recordings(Path(audio), skipped)


def find_recordings(folder: Path, skipped: Counter[str] | None = None) -> list[Recording]:
    """Return the recordings in a folder and its sub-folders, in the order of their names.

    They are recognized by their suffix. Links to folders are followed. Hidden files and folders are
    left out.

    Args:
        folder: the folder to search.
        skipped: is increased by the number of files that are not recordings, by their suffix.

    Raises:
        MissingFileError: the folder does not exist.
        AudioError: the folder has no recordings.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder.")
    skipped = Counter() if skipped is None else skipped
    recordings = [
        Recording(str(path.relative_to(folder)), path)
        for path in sorted(map(Path, walk(os.fspath(folder), skipped)))
    ]
    if not recordings:
        raise AudioError(f"{folder}: holds no recordings. {skipped_text(skipped)}".rstrip())
    return recordings


def walk(folder: str, skipped: Counter[str]) -> Iterator[str]:
    """Yield the paths of the recordings in a folder and its sub-folders, in no certain order.

    Args:
        folder: the folder to search.
        skipped: is increased by the number of files that are not recordings, by their suffix;
            hidden files and folders are not counted.

    Raises:
        AudioError: a folder cannot be read.
    """
    yield from _walk(folder, skipped, ())


def _walk(folder: str, skipped: Counter[str], above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield as `walk` does; `above` are the folders on the way, so that links do not go round."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - of very many
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from _walk(entry.path, skipped, (*above, identity))
                elif not is_recording(entry.name):
                    skipped[suffix_of(entry.name)] += 1
                elif entry.is_file() or entry.is_symlink():  # a link that leads nowhere is reported
                    yield entry.path
                else:  # a pipe or a device, which has no end
                    skipped["that are no regular files"] += 1
    except OSError as error:
        raise AudioError(f"{folder}: cannot be listed ({error.strerror}).") from error


def is_recording(name: str) -> bool:
    """Return whether a file is a recording by its suffix, and not hidden."""
    return suffix_of(name) in SUFFIXES and not name.startswith(".")


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - it is fast, and takes URIs, too


def skipped_text(skipped: Mapping[str, int]) -> str:
    """Return a sentence about the files that are not recordings, or "" if there are none.

    Args:
        skipped: the number of such files, by their suffix.
    """
    if not skipped:
        return ""
    ordered = sorted(skipped.items(), key=lambda pair: (-pair[1], pair[0]))
    kinds = [f"{count} {suffix or 'without one'}" for suffix, count in ordered[:MOST_SUFFIXES]]
    rest = sum(count for _, count in ordered[MOST_SUFFIXES:])
    if rest:
        kinds.append(f"{rest} others")
    total = sum(skipped.values())
    what = (
        "1 file was skipped because of its suffix"
        if total == 1
        else f"{total} files were skipped because of their suffixes"
    )
    return f"{what}: {', '.join(kinds)}."


def is_stream(path: Path) -> bool:
    """Return whether a path is `-`, which is standard input, a pipe, or a device.

    Shells name a pipe `/dev/fd/63` or similar for `<(command)`.
    """
    return str(path) == "-" or path.is_relative_to("/dev") or path.is_fifo()


def folder_of(manifest: Path) -> Path:
    """Return the folder that the paths in a manifest are relative to."""
    return Path() if is_stream(manifest) else manifest.parent


def read_manifest(manifest: Path, folder: Path) -> list[Recording]:
    """Return the recordings that a CSV file lists, in its order.

    Args:
        manifest: the CSV file, in UTF-8 and separated by commas. Its first line names the columns:
            `path` and, if they are known, `label` and `speaker`. Where it has the columns `start`
            and `end`, in seconds, a line is about this stretch alone. Other columns are kept.
        folder: the folder that the paths are relative to.

    Raises:
        MissingFileError: the file does not exist.
        ManifestError: the file is not CSV, has no column `path`, lists an empty path or one path
            twice, has a time that is not a number, or lists nothing.
    """
    recordings: dict[str, Recording] = {}
    for recording in manifest_lines(manifest, folder):
        if recording.times:
            cells = recording.columns
            channel = f", channel {cells['channel']}" if cells.get("channel") else ""
            times = f"{cells['start']} to {cells['end']} s{channel}"
            recording = replace(recording, name=f"{recording.name} [{times}]")
        if recording.name in recordings:
            raise ManifestError(f"{recording.listed} lists {recording.name} a second time.")
        recordings[recording.name] = recording
    return list(recordings.values())


def _times(row: Mapping[str, str], listed: str) -> tuple[float, float] | None:
    """Return the times of a line; if both cells are empty or missing, there are none."""
    cells = [row.get(column, "") for column in ("start", "end")]
    if not any(cells):
        return None
    try:
        start, end = map(float, cells)
    except ValueError:
        raise ManifestError(
            f"{listed}: has {cells[0][:40]!r} and {cells[1][:40]!r} as its start and end; write "
            "seconds, such as 12.5, or leave both empty."
        ) from None
    return start, end


def manifest_lines(manifest: Path, folder: Path) -> Iterator[Recording]:
    """Yield what `read_manifest` returns, one recording at a time; a path may occur twice.

    Args:
        manifest: the CSV file, or a stream, which is read once; see `is_stream`.
        folder: the folder that the paths are relative to.

    Raises:
        MissingFileError: the file does not exist.
        ManifestError: the file is not CSV, has no column `path`, lists an empty path, or nothing.
    """
    if not (is_stream(manifest) or manifest.is_file()):
        raise MissingFileError(
            f"{manifest}: no such file. {missing_file_hint(str(manifest))}".rstrip()
        )
    place = 0 if str(manifest) == "-" else manifest
    line = 0
    try:
        # Spreadsheets write a BOM. Standard input stays open.
        with open(place, newline="", encoding="utf-8-sig", closefd=place != 0) as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or []
            if "path" not in columns:
                raise ManifestError(
                    f"{manifest}: has no column `path`; its first line must name the columns, "
                    f"separated by commas, and is {','.join(columns)[:80]!r}."
                )
            for column, count in Counter(columns).items():
                if count > 1:
                    raise ManifestError(f"{manifest}: has {count} columns called {column!r}.")
            for row in rows:
                name, line = row.pop("path"), rows.line_num
                if not name or None in row or None in row.values():
                    raise ManifestError(
                        f"{manifest}: line {line} does not have a cell for each of "
                        f"{','.join(columns)}."
                    )
                listed = f"{manifest}, line {line}"
                yield Recording(
                    name,
                    folder / name,
                    row.get("label"),
                    row.get("speaker"),
                    row,
                    listed,
                    _times(row, listed),
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"{manifest}: is not a CSV file in UTF-8 ({error}).") from None
    except OSError as error:
        raise ManifestError(f"{manifest}: cannot be read ({error.strerror}).") from error
    if not line:
        raise ManifestError(f"{manifest}: lists no recordings.")
