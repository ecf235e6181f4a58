"""Which recordings there are: those of a folder, or those that a CSV manifest lists."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voxmood.audio.formats import SUFFIXES
from voxmood.audio.hints import missing_file_hint
from voxmood.errors import AudioError, ManifestError, MissingFileError

MOST_SUFFIXES = 5
"""How many kinds of skipped files are named."""


@dataclass(frozen=True)
class Recording:
    """A recording, and what is known of it.

    Attributes:
        name: its path as it was found or listed, relative to the folder.
        path: where it is; it need not exist nor be readable.
        label: the true one, if the manifest says so.
        speaker: who speaks, if the manifest says so.
        columns: all that the manifest says of it beside its path, by column.
        listed: the manifest and the line that list it; empty where none does.
    """

    name: str
    path: Path
    label: str | None = None
    speaker: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    listed: str = ""


def choose_recordings(
    audio: str | os.PathLike[str] | None,
    manifest: str | os.PathLike[str] | None,
    skipped: Counter[str],
) -> list[Recording]:
    """Return the recordings of a folder, or those that a manifest lists.

    Args:
        audio: the folder; with a manifest, what the paths in it are relative to.
        manifest: the list; its paths are relative to its own folder where `audio` is None.
        skipped: gets the number of files of the folder that are no recordings, by their suffix.

    Raises:
        MissingFileError: there is no such folder or file, or neither is given.
        AudioError: there are no recordings in the folder.
        ManifestError: the manifest cannot be used.
    """
    for name, given in (("audio", audio), ("manifest", manifest)):
        if given is not None and not os.fspath(given):
            raise MissingFileError(f"{name}: the name is empty; is a variable not set?")
    if manifest is not None:
        file = Path(manifest)
        return read_manifest(file, file.parent if audio is None else Path(audio))
    if audio is None:
        raise MissingFileError("no recordings are named; give audio, manifest or both.")
    return find_recordings(Path(audio), skipped)


def find_recordings(folder: Path, skipped: Counter[str] | None = None) -> list[Recording]:
    """Return the recordings of a folder and its sub-folders, in the order of their names.

    They are known by their suffix. Hidden files are left out.

    Args:
        folder: where they are.
        skipped: gets the number of files that are no recordings, by their suffix.

    Raises:
        MissingFileError: there is no such folder.
        AudioError: there are no recordings in it.
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
    """Yield paths of the recordings of a folder and its sub-folders, as the system lists them.

    Args:
        folder: where they are.
        skipped: gets the number of files that are no recordings by their suffix; hidden ones are
            not counted.

    Raises:
        AudioError: a folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".")
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(entry.path, Counter() if hidden else skipped)
                elif hidden or entry.is_dir():
                    continue
                elif is_recording(entry.name):
                    yield entry.path
                else:
                    skipped[suffix_of(entry.name)] += 1
    except OSError as error:
        raise AudioError(f"{folder}: cannot be listed ({error.strerror}).") from error


def is_recording(name: str) -> bool:
    """Return whether a file is audio by its suffix, and not hidden."""
    return suffix_of(name) in SUFFIXES and not name.startswith(".")


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - of very many, and may be a URI's


def skipped_text(skipped: Mapping[str, int]) -> str:
    """Return a sentence about files that are no recordings, or "" where there are none.

    Args:
        skipped: how many there are of each suffix.
    """
    if not skipped:
        return ""
    ordered = sorted(skipped.items(), key=lambda pair: (-pair[1], pair[0]))
    kinds = [f"{count} {suffix or 'without one'}" for suffix, count in ordered[:MOST_SUFFIXES]]
    rest = sum(count for _, count in ordered[MOST_SUFFIXES:])
    if rest:
        kinds.append(f"{rest} others")
    total = sum(skipped.values())
    return f"{total} file{'s' * (total != 1)} skipped by their suffix: {', '.join(kinds)}."


def read_manifest(manifest: Path, folder: Path) -> list[Recording]:
    """Return the recordings that a CSV file lists, in its order.

    Args:
        manifest: UTF-8, separated by commas, its first line the names of the columns: `path`,
            and where known `label` and `speaker`; what others say is kept.
        folder: what the paths in it are relative to.

    Raises:
        MissingFileError: there is no such file.
        ManifestError: it is no CSV, has no `path`, an empty or repeated one, or no rows.
    """
    recordings: dict[str, Recording] = {}
    for recording in manifest_lines(manifest, folder):
        if recording.name in recordings:
            raise ManifestError(f"{recording.listed} lists {recording.name} a second time.")
        recordings[recording.name] = recording
    return list(recordings.values())


def manifest_lines(manifest: Path, folder: Path) -> Iterator[Recording]:
    """Yield the recordings of a manifest one at a time; as `read_manifest`, and may repeat.

    Raises:
        MissingFileError: there is no such file.
        ManifestError: it is no CSV, has no `path`, an empty one, or no rows.
    """
    if not manifest.is_file():
        raise MissingFileError(
            f"{manifest}: no such file. {missing_file_hint(str(manifest))}".rstrip()
        )
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
                yield Recording(
                    name,
                    folder / name,
                    row.get("label"),
                    row.get("speaker"),
                    row,
                    f"{manifest}, line {line}",
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"{manifest}: is not a CSV file in UTF-8 ({error}).") from None
    if not line:
        raise ManifestError(f"{manifest}: lists no recordings.")
