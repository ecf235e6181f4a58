"""The recordings of an archive: finding, listing, counting and labeling them on this machine."""

from __future__ import annotations

import glob
import json
import os
import re
import sqlite3
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from voxmood.annotations.reading import span_of_row
from voxmood.archive.rows import Entry, Labeler, Row
from voxmood.audio.hints import is_url, missing_file_hint
from voxmood.audio.listing import (
    folder_of,
    is_recording,
    is_stream,
    manifest_lines,
    skipped_text,
    walk,
)
from voxmood.errors import AudioError, ManifestError, MissingFileError
from voxmood.results import Span

AHEAD = 64
"""Recordings that each worker may be ahead of the next row to write; only their rows are kept."""

SPANS = "spans"
"""What the listing says of a recording of which stretches are labeled."""

MOST_CAUSES = 3
"""The most causes of errors that the summary of a run names."""


class Search:
    """A search for the recordings of sources, which remembers what it read and skipped.

    Attributes:
        manifests: the manifests that were read.
        skipped: number of files in folders that are not recordings, by suffix.
    """

    def __init__(self) -> None:
        self.manifests: list[Path] = []
        self.skipped = Counter[str]()

    def find(self, source: str) -> Iterator[Entry]:
        """Yield the recordings of a source: a file, a folder, a glob or a CSV manifest.

        Paths stay as they were given, except that `.` and doubled slashes are removed. The paths
        in a manifest are relative to its folder, and the files need not exist. Standard input,
        which is `-`, and pipes are manifests, unless they have the suffix of a recording; their
        paths are relative to the current folder.

        Raises:
            MissingFileError: the source is missing.
            AudioError: a folder holds no recordings.
            ManifestError: a manifest cannot be used.
        """
        if is_url(source):
            hint = missing_file_hint(source) if source.startswith(("http:", "https:")) else ""
            raise MissingFileError(
                f"{source}: is not on this machine; only --engine ray reads it. {hint}".rstrip()
            )
        if not source:
            raise MissingFileError("the name of a source is empty; is a variable not set?")
        path = Path(source)
        exists = os.path.lexists(path)
        is_glob = not exists and glob.has_magic(source)
        if path.is_dir():
            empty, skipped = True, Counter[str]()
            for file in walk(str(path), skipped):
                empty = False
                yield Entry(str(Path(file)))  # without a leading "./"
            if empty:
                raise AudioError(f"{source}: holds no recordings. {skipped_text(skipped)}".rstrip())
            self.skipped += skipped
        elif (is_stream(path) and not is_recording(path.name)) or (
            source.lower().endswith(".csv") and not is_glob
        ):
            self.manifests.append(path)
            for recording in manifest_lines(path, folder_of(path)):
                listed = f"{recording.listed}: {recording.name}"
                place = recording.name if is_url(recording.name) else str(recording.path)
                if recording.times:
                    yield Entry(place, {}, listed, (span_of_row(recording.columns, listed),))
                else:
                    yield Entry(place, recording.columns, listed)
        elif exists:
            yield Entry(str(path))
        else:
            found = glob.iglob(source, recursive=True) if is_glob else ()  # noqa: PTH207
            empty = True
            for name in found:
                empty = False
                yield from self.find(name)
            if empty:
                hint = "" if is_glob else missing_file_hint(source)
                raise MissingFileError(
                    f"{source}: no such file or folder, and no file matches it. {hint}".rstrip()
                )


class Listing(Iterable[Entry]):
    """The recordings to label, each one once, in the order of the bytes of their paths.

    They are kept in a temporary database on disk, so that memory does not grow with their number.

    Attributes:
        columns: the columns of all manifests, in the order in which they appeared.
        given: whether stretches of recordings are listed.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Store the recordings.

        Raises:
            ManifestError: a recording is named twice.
        """
        self._table = sqlite3.connect("")
        self._table.execute("CREATE TABLE listing (path BLOB PRIMARY KEY, more) WITHOUT ROWID")
        self._table.execute("CREATE TABLE spans (path BLOB, span)")
        self._table.execute("CREATE INDEX by_path ON spans (path)")
        columns = dict[str, None]()
        self.given = False
        for entry in entries:
            columns |= dict.fromkeys(entry.columns)
            if entry.spans:
                self.given = True
                for span in entry.spans:
                    columns |= dict.fromkeys(span.columns)
                    text = json.dumps(asdict(span))
                    values = (os.fsencode(entry.path), text)
                    self._table.execute("INSERT INTO spans VALUES (?, ?)", values)
                if self._of_path(entry.path) == SPANS:
                    continue
                entry = Entry(entry.path, {}, SPANS)
            more = json.dumps([entry.columns, entry.listed]) if entry.listed else None
            more = SPANS if entry.listed == SPANS else more
            try:
                self._table.execute(
                    "INSERT INTO listing VALUES (?, ?)", (os.fsencode(entry.path), more)
                )
            except sqlite3.IntegrityError:
                where = f" [{entry.listed}]" if entry.listed else ""
                raise ManifestError(
                    f"{entry.path}: is named twice, but a table has one row for it; remove one of "
                    f"the two.{where}"
                ) from None
        self.columns = tuple(columns)

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM listing").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Entry]:
        for path, more in self._table.execute("SELECT path, more FROM listing ORDER BY path"):
            if more == SPANS:
                found = self._table.execute("SELECT span FROM spans WHERE path = ?", (path,))
                spans = [Span(**json.loads(text)) for (text,) in found]
                yield Entry(os.fsdecode(path), spans=spans)
            else:
                yield Entry(os.fsdecode(path), *(json.loads(more) if more else ()))

    def _of_path(self, path: str) -> str | None:
        query = "SELECT more FROM listing WHERE path = ?"
        found = self._table.execute(query, (os.fsencode(path),)).fetchone()
        return found[0] if found else None

    def discard(self, path: str) -> bool:
        """Remove a recording and return whether it was listed."""
        where = "DELETE FROM listing WHERE path = ?"
        return bool(self._table.execute(where, (os.fsencode(path),)).rowcount)


class Tally:
    """The number of recordings in a table, and the causes why some of them have no label.

    Attributes:
        recordings: number of recordings.
        failed: number of recordings that have an error.
    """

    def __init__(self) -> None:
        self.recordings = self.failed = 0
        self._causes = Counter[str]()
        self._examples: dict[str, str] = {}

    def add(self, path: str, error: str | None) -> None:
        """Count a recording, with the error of its row if it has one."""
        self.recordings += 1
        if error is None:
            return
        self.failed += 1
        cause = error.removeprefix(f"{path}: ")
        cause = re.sub(r" \[[^\[]*, line \d+: .*\]$", "", cause, flags=re.DOTALL)
        kind = re.sub(r"\d+", "0", cause)  # one kind, whatever durations and sizes it names
        self._causes[kind] += 1
        self._examples.setdefault(kind, cause)

    def causes(self) -> list[str]:
        """Return a line for each of the most common causes, and one line for the rest."""
        common = self._causes.most_common(MOST_CAUSES)
        lines = [f"{count:>8}  {self._examples[kind]}" for kind, count in common]
        if rest := self.failed - sum(count for _, count in common):
            lines.append(f"{rest:>8}  other causes")
        return lines


def label_all(labeler: Labeler, entries: Iterable[Entry], workers: int) -> Iterator[list[Row]]:
    """Yield the rows of each recording, in the order of the recordings.

    Threads are enough here, because decoders and the model run without Python's global lock. Rows
    that are ready early are kept until their turn; audio is not.

    Args:
        labeler: labels a recording.
        entries: the recordings.
        workers: number of threads.
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
