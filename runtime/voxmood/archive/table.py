"""The table of a batch as one CSV or JSON-lines file, which can be resumed after a killed run."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from voxmood.archive.rows import Row, as_csv, as_json, csv_head
from voxmood.errors import OutputError
from voxmood.files import write_whole

SUFFIXES = (".csv", ".jsonl")

SURROGATES = sys.getfilesystemencodeerrors()
"""How Python makes text of file names that are no Unicode; Windows has another way."""


def already_exists(table: object) -> OutputError:
    """Return the error for a table that already exists."""
    return OutputError(f"{table}: already exists; --resume continues it, --force replaces it.")


def description_of(table: Path) -> Path:
    """Return the path of the file beside a table that describes what determines its rows."""
    return table.with_name(f"{table.name}.json")


def check_same(table: object, made_by: str | bytes | None, run: Mapping[str, Any]) -> None:
    """Check that an existing table was made with the same settings as this run.

    Args:
        table: name of the table, for the message.
        made_by: description of the table as JSON, or None if it is missing.
        run: description of this run.

    Raises:
        OutputError: the settings differ, or the description is missing.
    """
    try:
        same = made_by is not None and json.loads(made_by) == run
    except ValueError:  # it is not a description at all
        same = False
    if not same:
        raise OutputError(
            f"{table}: was not made with the model, precision, windows and manifest columns of "
            "this run, or its description is missing; use --resume with the same settings, or "
            "--force, or another --output."
        )


class TableFile:
    """A table that grows recording by recording, with a description beside it in `NAME.json`.

    File names that are not UTF-8 stay unchanged in CSV and are escaped in JSON.

    Args:
        path: path of a `.csv` or `.jsonl` file.
        fields: names of the values of a row, in order.
        labels: labels of the model, in order.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, fields: Sequence[str], labels: Sequence[str]) -> None:
        self._path = path
        self._description = description_of(path)
        self._csv = path.suffix.lower() == ".csv"
        self._several = "start" in fields or "channel" in fields  # rows of one recording
        self._labels = labels
        self._fields = list(fields)
        # Counted from the end, because the labels come before it and have a column each.
        self._error = fields.index("error") - len(fields)
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
        """Begin an empty table, in place of any existing one.

        Args:
            run: description of this run.
        """
        self._file.truncate(0)  # first, so that the description never belongs to other rows
        write_whole(self._description, json.dumps(run, indent=2) + "\n")
        self._put(self._head)

    def resume(self, run: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        """Continue the existing table, and yield the recordings in it with the error of each.

        After the last of them, the table is cut off behind it: a row that was written in part is
        removed, and where a recording has several rows all those of the last one, because some may
        be missing.

        Args:
            run: description of this run.

        Raises:
            OutputError: the table was made with other settings.
        """
        empty = not self._path.stat().st_size
        if not empty or self._description.exists():
            made_by = self._description.read_bytes() if self._description.exists() else None
            check_same(self._path, made_by, run)
        if empty:
            self.begin(run)
            return
        last: tuple[str, str | None] | None = None
        start = end = len(self._head)  # where the rows of the last recording begin and end
        for path, error, stop in self._rows():
            if path != (last and last[0]):
                if last:
                    yield last
                start, last = end, (path, error)
            elif last and not last[1]:
                last = (path, error)
            end = stop
        if last and not self._several:
            yield last
            start = end
        self._file.truncate(start)
        if last is None:  # even the header may be cut off
            self.begin(run)

    def write(self, rows: Iterable[Row]) -> None:
        """Write all rows of a recording.

        Raises:
            OutputError: they cannot be written; earlier rows stay in the table.
        """
        self._put(self._encode(rows))

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror}); --resume continues it."
            ) from error

    def _encode(self, rows: Iterable[Row]) -> bytes:
        if not self._csv:
            return "".join(map(as_json, rows)).encode()
        text = "".join(as_csv(row, self._labels) for row in rows)
        return text.encode("utf-8", SURROGATES)

    def _rows(self) -> Iterator[tuple[str, str | None, int]]:
        """Yield the path and the error of each complete row, and the position of its end.

        What a killed run or a crash of the machine left at the end is no complete row.

        Raises:
            OutputError: elsewhere there is something that no run wrote, such as an added column.
        """
        end, whole = len(self._head), True
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            head = file.read(end)
            if head != self._head:
                if size < end and self._head.startswith(head):
                    return
                raise self._edited("its first line")

            def lines() -> Iterator[str]:
                nonlocal end, whole
                for line in file:
                    end += len(line)
                    whole = line.endswith(b"\n")
                    yield line.decode("utf-8", SURROGATES)

            try:
                rows = self._of_csv(lines()) if self._csv else self._of_json(lines())
                for path, error in rows:
                    if whole:
                        yield path, error, end
            except (ValueError, LookupError, TypeError, csv.Error) as error:
                if end < size:
                    raise self._edited(f"what ends at byte {end}") from error

    def _of_csv(self, lines: Iterator[str]) -> Iterator[tuple[str, str | None]]:
        cells_of_row = len(self._fields) - 1 + len(self._labels)
        for cells in csv.reader(lines, strict=True):
            if len(cells) != cells_of_row:
                raise ValueError("it has another number of cells")
            yield cells[0], cells[self._error] or None

    def _of_json(self, lines: Iterator[str]) -> Iterator[tuple[str, str | None]]:
        for line in lines:
            row = json.loads(line)
            if list(row) != self._fields:
                raise ValueError("it has other keys")
            yield row["path"], row["error"]

    def _edited(self, what: str) -> OutputError:
        return OutputError(
            f"{self._path}: {what} is not as this run writes it; was the table edited? Use another "
            "--output, or --force to replace it."
        )
