"""Archives to tables: what is to be labelled, a recording to rows, and all cores of one machine.

`voxmood.batch_ray` does the same on more than one, with the same listing and the same rows.
"""

from __future__ import annotations

import glob
import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from voxmood.audio import AudioSource
from voxmood.display import rounded, segment_fields
from voxmood.errors import AudioError, ManifestError, MissingFileError, VoxmoodError
from voxmood.model import Model
from voxmood.recordings import manifest_lines, walk
from voxmood.windows import Windows

Row: TypeAlias = dict[str, Any]
"""What the table says of a recording, or of a segment of one; see `Labeller`."""

AHEAD = 64  # recordings a worker may be ahead of the row to be written; their rows are small


class Labeller:
    """A model that answers with rows, and with rows that say so where it cannot.

    A row has `path`, `label`, `probabilities` by label, `duration_s`, `warnings` and `error`; with
    windows it is of a segment, and has `start`, `end` and `silent` instead of a duration. Where
    there is an error, a recording has one row and all else in it is None.

    Args:
        model: threads may share it.
        windows: length and hop in seconds, as `Model.timeline` takes them; None for whole
            recordings.

    Raises:
        AudioError: the model does not take such windows.
    """

    def __init__(self, model: Model, windows: tuple[float, float] | None = None) -> None:
        self._model = model
        self._windows = windows
        if windows:
            Windows(*windows, model.bundle)

    def __call__(self, path: str, source: AudioSource | None = None) -> list[Row]:
        """Labels a recording.

        Args:
            path: what the rows call it.
            source: as `Model.predict` takes it; None takes the path.
        """
        source = path if source is None else source
        try:
            if self._windows:
                timeline = self._model.timeline(source, *self._windows)
                parts = [segment_fields(segment) for segment in timeline]
                warnings = timeline.warnings
            else:
                prediction = self._model.predict(source)
                parts = [
                    {
                        "label": prediction.label,
                        "probabilities": rounded(prediction.probabilities),
                        "duration_s": round(prediction.duration, 3),
                    }
                ]
                warnings = prediction.warnings
        except (VoxmoodError, OSError, MemoryError) as error:
            return [self.failed(path, str(error) or type(error).__name__)]
        return [{"path": path, **part, "warnings": list(warnings), "error": None} for part in parts]

    def failed(self, path: str, cause: str) -> Row:
        """The row of a recording that has no label."""
        return dict.fromkeys(self.fields) | {"path": path, "warnings": [], "error": cause}

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's."""
        return self._model.labels

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of a row's values, in order."""
        of_segment = ("start", "end", "label", "probabilities", "silent")
        said = of_segment if self._windows else ("label", "probabilities", "duration_s")
        return ("path", *said, "warnings", "error")

    @property
    def description(self) -> dict[str, Any]:
        """What makes the rows: a table of other rows is not to be gone on with."""
        files = self._model.bundle.precisions[self._model.precision].files
        return {
            "model": self._model.bundle.name,
            "precision": self._model.precision,
            "sha256": {name: file.sha256 for name, file in files.items()},
            "windows": list(self._windows) if self._windows else None,
        }


class Listing(Iterable[str]):
    """Paths, each once, in their order as bytes.

    They lie in a temporary database on disk, so that memory does not grow with their number.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        """Takes the paths.

        Raises:
            ManifestError: one is there twice.
        """
        self._table = sqlite3.connect("")
        self._table.execute("CREATE TABLE listing (path BLOB PRIMARY KEY) WITHOUT ROWID")
        for path in paths:
            try:
                self._table.execute("INSERT INTO listing VALUES (?)", (os.fsencode(path),))
            except sqlite3.IntegrityError:
                raise ManifestError(
                    f"{path}: is given twice, and a table has each once; name it in one place."
                ) from None

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM listing").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[str]:
        for (path,) in self._table.execute("SELECT path FROM listing ORDER BY path"):
            yield os.fsdecode(path)

    def discard(self, path: str) -> bool:
        """Takes a path out; returns whether it was there."""
        where = "DELETE FROM listing WHERE path = ?"
        return bool(self._table.execute(where, (os.fsencode(path),)).rowcount)


def find(source: str) -> Iterator[str]:
    """Paths of the recordings that a file, a folder, a glob or a CSV manifest stands for.

    What a manifest lists need not exist; its paths are relative to it.

    Raises:
        MissingFileError: there is no such thing.
        AudioError: a folder holds no recordings.
        ManifestError: a manifest cannot be used.
    """
    if "://" in source:
        raise MissingFileError(f"{source}: only --engine ray reads what is not on this machine.")
    source = os.path.normpath(source)
    if os.path.isdir(source):  # noqa: PTH112 - paths as they were given
        empty = True
        for path in walk(source):
            empty = False
            yield os.path.normpath(path)  # of the folder "." as well
        if empty:
            raise AudioError(f"{source}: holds no recordings.")
    elif source.lower().endswith(".csv"):
        manifest = Path(source)
        for _, recording in manifest_lines(manifest, manifest.parent):
            yield recording.name if "://" in recording.name else os.path.normpath(recording.path)
    elif os.path.lexists(source):
        yield source
    else:
        found = glob.iglob(source, recursive=True) if glob.has_magic(source) else ()  # noqa: PTH207
        empty = True
        for path in found:
            empty = False
            yield from find(path)
        if empty:
            raise MissingFileError(f"{source}: no such file or folder, and no glob of any.")


def label_all(labeller: Labeller, paths: Iterable[str], workers: int) -> Iterator[list[Row]]:
    """Yields the rows of each recording, in order.

    A worker decodes while others run the model: both leave Python's lock alone. Only rows wait
    for their turn, never audio.
    """
    pool = ThreadPoolExecutor(workers)
    pending = deque[Future[list[Row]]]()
    try:
        for path in paths:
            pending.append(pool.submit(labeller, path))
            if len(pending) > AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
