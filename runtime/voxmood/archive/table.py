"""The table of a batch as one file, CSV or JSON lines, which a killed run leaves fit to go on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from voxmood.archive.rows import Row, as_csv, as_json, csv_head
from voxmood.errors import OutputError
from voxmood.files import write_whole

SUFFIXES = (".csv", ".jsonl")


def exists(table: object) -> OutputError:
    """What to say of a table that is there."""
    return OutputError(f"{table}: already exists; --resume goes on with it, --force replaces it.")


def description_of(table: Path) -> Path:
    """Return the file beside a table that says what makes its rows."""
    return table.with_name(f"{table.name}.json")


def check_same(table: object, made_by: str | bytes | None, run: Mapping[str, Any]) -> None:
    """Raises OutputError unless what made a table, as JSON, is what this run would use."""
    if made_by is None or json.loads(made_by) != run:
        raise OutputError(
            f"{table}: was not made with the model, precision, windows and manifest columns of "
            "this run, or its description is gone; --resume with the same, or take --force or "
            "another --output."
        )


class Table:
    """A table that grows recording by recording, and beside it `NAME.json`, what makes its rows.

    Names of files that are not UTF-8 stay as they are in CSV, and are escaped in JSON.

    Args:
        path: of a `.csv` or `.jsonl` file.
        fields: of a row, in order.
        labels: the model's.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, fields: Sequence[str], labels: Sequence[str]) -> None:
        self._path = path
        self._description = description_of(path)
        self._csv = path.suffix.lower() == ".csv"
        self._windowed = "start" in fields
        self._labels = labels
        self._error = fields.index("error") - len(fields)  # from the end: labels come before it
        self._head = csv_head(fields, labels).encode() if self._csv else b""
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def begin(self, run: Mapping[str, Any]) -> None:
        """Opens a new table in the place of what is there."""
        self._file.truncate(0)  # first, so that the description is of no other rows
        write_whole(self._description, json.dumps(run, indent=2) + "\n")
        self._put(self._head)

    def resume(self, run: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        """Opens the table that is there; yields the recordings in it, with the error of each.

        Once they are all taken, the table ends after the last of them: a row that was half written
        is gone, and so are the segments of the last recording, which may not be all there.

        Raises:
            OutputError: the table was made otherwise.
        """
        if not self._path.stat().st_size:
            self.begin(run)
            return
        made_by = self._description.read_text("utf-8") if self._description.exists() else None
        check_same(self._path, made_by, run)
        last: tuple[str, str | None] | None = None
        start = end = len(self._head)  # of the rows of the last recording
        for path, error, stop in self._rows():
            if path != (last and last[0]):
                if last:
                    yield last
                start, last = end, (path, error)
            end = stop
        if last and not self._windowed:
            yield last
            start = end
        self._file.truncate(start)
        if last is None:  # not even the head may be whole
            self.begin(run)

    def write(self, rows: Iterable[Row]) -> None:
        """Writes all rows of a recording.

        Raises:
            OutputError: it cannot; what was written before stays.
        """
        self._put(self._encode(rows))

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror}); --resume goes on from here."
            ) from error

    def _encode(self, rows: Iterable[Row]) -> bytes:
        if not self._csv:
            return "".join(map(as_json, rows)).encode()
        text = "".join(as_csv(row, self._labels) for row in rows)
        return text.encode("utf-8", "surrogateescape")

    def _rows(self) -> Iterator[tuple[str, str | None, int]]:
        """Yields the path of each whole row, its error, and where it ends."""
        end, whole = len(self._head), True
        with self._path.open("rb") as file:
            if file.read(end) != self._head:
                return

            def lines() -> Iterator[str]:
                nonlocal end, whole
                for line in file:
                    end += len(line)
                    whole = line.endswith(b"\n")
                    yield line.decode("utf-8", "surrogateescape")

            try:
                if self._csv:
                    for cells in csv.reader(lines(), strict=True):
                        if whole:
                            yield cells[0], cells[self._error] or None, end
                else:
                    for line in lines():
                        if whole:
                            row = json.loads(line)
                            yield row["path"], row["error"], end
            except (ValueError, LookupError, csv.Error):
                return  # a row cut off within a cell, or what a crash of the machine left
