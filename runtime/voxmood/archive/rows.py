"""Rows: what tables, JSON lines and commands say of a recording, or of a segment of one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from voxmood.audio import AudioSource
from voxmood.audio.windows import Windows
from voxmood.errors import VoxmoodError
from voxmood.model import Model
from voxmood.results import Segment, rounded, segment_fields

Row: TypeAlias = dict[str, Any]
"""Values by the names of a table's columns; see `Labeler`."""

FAILURES = (VoxmoodError, OSError, MemoryError)
"""What a recording may cost a row, and never the run."""


@dataclass(frozen=True)
class Entry:
    """A recording to label.

    Attributes:
        path: what its rows call it; a path as it was given, or a URI.
        columns: what a manifest says of it beside its path, by column.
        listed: where a manifest lists it, and as what; empty where none does.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    listed: str = ""


class Labeler:
    """A model that answers with rows, and with rows that say so where it cannot.

    A row has `path`, `label`, `probabilities` by label, `duration_s`, `warnings` and `error`; with
    windows it is of a segment, and has `start`, `end` and `silent` instead of a duration. The
    columns of manifests follow. Where there is an error, a recording has one row, and what the
    model would have said is None.

    Args:
        model: threads may share it.
        windows: length and hop in seconds, as `Model.timeline` takes them; None for whole
            recordings.
        columns: of the manifests. One that is called as a column of ours, or as a label, becomes
            `manifest_` and its name.

    Raises:
        AudioError: the model does not take such windows.
    """

    def __init__(
        self,
        model: Model,
        windows: tuple[float, float] | None = None,
        columns: Iterable[str] = (),
    ) -> None:
        self._model = model
        self._windows = windows
        if windows:
            Windows(*windows, model.bundle)
        of_segment = ("start", "end", "label", "probabilities", "silent")
        said = of_segment if windows else ("label", "probabilities", "duration_s")
        own = ("path", *said, "warnings", "error")
        self._carried = _free_names(columns, {*own, *model.labels})
        self.fields = (*own, *self._carried.values())
        """The names of a row's values, in order."""

    def __call__(self, entry: Entry, source: AudioSource | None = None) -> list[Row]:
        """Label a recording.

        Args:
            entry: the recording.
            source: as `Model.predict` takes it; None takes the path.
        """
        source = entry.path if source is None else source
        try:
            if self._windows:
                timeline = self._model.timeline(source, *self._windows)
                segments = list(timeline)
                return [self.segment(entry, each, timeline.warnings) for each in segments]
            prediction = self._model.predict(source)
        except FAILURES as error:
            return [self.failed(entry, error)]
        said = {
            "label": prediction.label,
            "probabilities": rounded(prediction.probabilities),
            "duration_s": round(prediction.duration, 3),
        }
        return [self._row(entry, said, prediction.warnings)]

    def segment(self, entry: Entry, segment: Segment, warnings: Sequence[str]) -> Row:
        """Return the row of a segment of a recording."""
        return self._row(entry, segment_fields(segment), warnings)

    def failed(self, entry: Entry, error: Exception) -> Row:
        """Return the row of a recording that has no label."""
        cause = str(error)
        if isinstance(error, MemoryError):
            cause = f"{entry.path}: there is not enough memory for it."
        elif not isinstance(error, VoxmoodError):
            cause = f"{entry.path}: cannot be read ({error})."
        if entry.listed:
            cause = f"{cause} [{entry.listed}]"
        return self._row(entry, {}, (), cause)

    def _row(
        self,
        entry: Entry,
        said: Mapping[str, Any],
        warnings: Sequence[str],
        error: str | None = None,
    ) -> Row:
        row: Row = dict.fromkeys(self.fields)
        row |= {"path": entry.path, **said, "warnings": list(warnings), "error": error}
        return row | {name: entry.columns.get(column) for column, name in self._carried.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's."""
        return self._model.labels

    @property
    def carried(self) -> tuple[str, ...]:
        """The names that the columns of manifests have in rows; each value is a text or None."""
        return tuple(self._carried.values())

    @property
    def description(self) -> dict[str, Any]:
        """What makes the rows: a table of other rows is not to be gone on with."""
        files = self._model.bundle.precisions[self._model.precision].files
        return {
            "model": self._model.bundle.name,
            "precision": self._model.precision,
            "sha256": {name: file.sha256 for name, file in files.items()},
            "windows": list(self._windows) if self._windows else None,
            "columns": list(self.carried),
        }


def as_json(row: Row) -> str:
    """Return a row as a line of JSON; what is not UTF-8 in names of files is escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def as_csv(row: Row, labels: Sequence[str]) -> str:
    """Return a row as a line of CSV, in which each label has a column."""
    text = io.StringIO()
    csv.writer(text).writerow(_cells(row, labels))
    # Written with CR LF, for which it quotes cells that hold either.
    return text.getvalue().removesuffix("\r\n") + "\n"


def csv_head(fields: Sequence[str], labels: Sequence[str]) -> str:
    """Return the line that names the columns of `as_csv`."""
    names: Row = {name: name for name in fields}
    return as_csv(names | {"probabilities": dict(zip(labels, labels, strict=True))}, labels)


def _cells(row: Row, labels: Sequence[str]) -> Iterator[Any]:
    for name, value in row.items():
        if name == "probabilities":
            yield from value.values() if value else [None] * len(labels)
        elif isinstance(value, list):
            yield "; ".join(value)
        else:
            yield str(value).lower() if isinstance(value, bool) else value


def _free_names(columns: Iterable[str], taken: set[str]) -> dict[str, str]:
    """Give each column a name that none has yet."""
    names = {}
    for column in columns:
        name = column
        while name in taken:
            name = f"manifest_{name}"
        taken.add(name)
        names[column] = name
    return names
