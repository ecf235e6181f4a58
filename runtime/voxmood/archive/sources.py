"""Archives to tables: what is to be labeled, and all cores of one machine.

`voxmood.archive.ray` does the same on more than one, with the same listing and the same rows.
"""

from __future__ import annotations

import glob
import json
import os
import re
import sqlite3
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from voxmood.archive.rows import Entry, Labeler, Row
from voxmood.audio.hints import missing_file_hint
from voxmood.audio.listing import manifest_lines, skipped_text, walk
from voxmood.errors import AudioError, ManifestError, MissingFileError

AHEAD = 64  # recordings a worker may be ahead of the row to be written; their rows are small
MOST_CAUSES = 3  # that the end of a run names


class Search:
    """Finds what sources stand for.

    Attributes:
        manifests: the lists that were read.
        skipped: how many files of folders are no recordings, by their suffix.
    """

    def __init__(self) -> None:
        self.manifests: list[Path] = []
        self.skipped = Counter[str]()

    def find(self, source: str) -> Iterator[Entry]:
        """Yield the recordings that a file, a folder, a glob or a CSV manifest stands for.

        Paths are as they were given, but for `.` and doubled slashes, which mean nothing. What a
        manifest lists need not exist; its paths are relative to it.

        Raises:
            MissingFileError: there is no such thing.
            AudioError: a folder holds no recordings.
            ManifestError: a manifest cannot be used.
        """
        if "://" in source:
            hint = missing_file_hint(source) if source.startswith(("http:", "https:")) else ""
            raise MissingFileError(
                f"{source}: only --engine ray reads what is not on this machine. {hint}".rstrip()
            )
        if not source:
            raise MissingFileError("the name of a source is empty; is a variable not set?")
        path = Path(source)
        there = os.path.lexists(path)
        is_glob = not there and glob.has_magic(source)
        if path.is_dir():
            empty, skipped = True, Counter[str]()
            for file in walk(str(path), skipped):
                empty = False
                yield Entry(str(Path(file)))  # of the folder "." as well
            if empty:
                raise AudioError(f"{source}: holds no recordings. {skipped_text(skipped)}".rstrip())
            self.skipped += skipped
        elif source.lower().endswith(".csv") and not is_glob:
            self.manifests.append(path)
            for recording in manifest_lines(path, path.parent):
                listed = f"{recording.listed}: {recording.name}"
                place = recording.name if "://" in recording.name else str(recording.path)
                yield Entry(place, recording.columns, listed)
        elif there:
            yield Entry(str(path))
        elif source == "-":
            raise MissingFileError("-: standard input is not read here; name files or folders.")
        else:
            found = glob.iglob(source, recursive=True) if is_glob else ()  # noqa: PTH207
            empty = True
            for name in found:
                empty = False
                yield from self.find(name)
            if empty:
                hint = missing_file_hint(source)
                raise MissingFileError(
                    f"{source}: no such file or folder, and no glob of any. {hint}".rstrip()
                )


class Listing(Iterable[Entry]):
    """Recordings, each once, in the order of their paths as bytes.

    They lie in a temporary database on disk, so that memory does not grow with their number.

    Attributes:
        columns: of all manifests, in the order in which they came.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take the recordings.

        Raises:
            ManifestError: one is there twice.
        """
        self._table = sqlite3.connect("")
        self._table.execute("CREATE TABLE listing (path BLOB PRIMARY KEY, more) WITHOUT ROWID")
        columns = dict[str, None]()
        for entry in entries:
            columns |= dict.fromkeys(entry.columns)
            more = json.dumps([entry.columns, entry.listed]) if entry.listed else None
            try:
                self._table.execute(
                    "INSERT INTO listing VALUES (?, ?)", (os.fsencode(entry.path), more)
                )
            except sqlite3.IntegrityError:
                where = f" [{entry.listed}]" if entry.listed else ""
                raise ManifestError(
                    f"{entry.path}: is given twice, and a table has each once; name it in one "
                    f"place.{where}"
                ) from None
        self.columns = tuple(columns)

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM listing").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Entry]:
        for path, more in self._table.execute("SELECT path, more FROM listing ORDER BY path"):
            yield Entry(os.fsdecode(path), *(json.loads(more) if more else ()))

    def discard(self, path: str) -> bool:
        """Take a recording out; return whether it was there."""
        where = "DELETE FROM listing WHERE path = ?"
        return bool(self._table.execute(where, (os.fsencode(path),)).rowcount)


class Tally:
    """How many recordings a table has, and why some of them have no label.

    Attributes:
        recordings: how many there are.
        failed: how many of them have an error.
    """

    def __init__(self) -> None:
        self.recordings = self.failed = 0
        self._causes = Counter[str]()
        self._examples: dict[str, str] = {}

    def add(self, path: str, error: str | None) -> None:
        """Count a recording, with the error of its row."""
        self.recordings += 1
        if error is None:
            return
        self.failed += 1
        cause = error.removeprefix(f"{path}: ")
        cause = re.sub(r" \[[^\[]*, line \d+: .*\]$", "", cause, flags=re.DOTALL)
        kind = re.sub(r"\d+", "0", cause)  # they differ in durations and the like
        self._causes[kind] += 1
        self._examples.setdefault(kind, cause)

    def causes(self) -> list[str]:
        """Return a line for each of the commonest causes, and one for the rest."""
        common = self._causes.most_common(MOST_CAUSES)
        lines = [f"{count:>8}  {self._examples[kind]}" for kind, count in common]
        if rest := self.failed - sum(count for _, count in common):
            lines.append(f"{rest:>8}  other causes")
        return lines


def label_all(labeler: Labeler, entries: Iterable[Entry], workers: int) -> Iterator[list[Row]]:
    """Yield the rows of each recording, in order.

    A worker decodes while others run the model: both leave Python's lock alone. Only rows wait
    for their turn, never audio.
    """
    pool = ThreadPoolExecutor(workers)
    pending = deque[Future[list[Row]]]()
    try:
        for entry in entries:
            pending.append(pool.submit(labeler, entry))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
