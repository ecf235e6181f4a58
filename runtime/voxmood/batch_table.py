"""The table of a batch as one file, CSV or JSON lines, which a killed run leaves fit to go on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from voxmood.batch import Row
from voxmood.errors import OutputError
from voxmood.report import write_whole

SUFFIXES = (".csv", ".jsonl")


def exists(table: object) -> OutputError:
    """What to say of a table that is there."""
    return OutputError(f"{table}: is there; --resume goes on with it, --force replaces it.")


def check_same(table: object, made_by: str | bytes | None, run: Mapping[str, Any]) -> None:
    """Raises OutputError unless what made a table, as JSON, is what this run would use."""
    if made_by is None or json.loads(made_by) != run:
        raise OutputError(
            f"{table}: was not made by the model, precision and windows of this run, or its "
            "description is gone; --resume with the same, or take --force or another --output."
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
        self._description = path.with_name(f"{path.name}.json")
        self._csv = path.suffix.lower() == ".csv"
        self._windowed = "start" in fields
        self._labels = labels
        names: Row = {name: name for name in fields}
        names["probabilities"] = dict(zip(labels, labels, strict=True))
        self._head = self._encode([names]) if self._csv else b""
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

    def resume(self, run: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
        """Opens the table that is there; yields the recordings in it, and whether each failed.

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
        last: tuple[str, bool] | None = None
        start = end = len(self._head)  # of the rows of the last recording
        for *recording, stop in self._rows():
            if recording[0] != (last and last[0]):
                if last:
                    yield last
                start, last = end, (str(recording[0]), bool(recording[1]))
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
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return "".join(lines).encode("utf-8", "backslashreplace")
        text = io.StringIO()
        for row in rows:
            csv.writer(text).writerow(self._cells(row))
            text.seek(text.tell() - 2)  # its CR LF, for which it quotes cells that hold either
            text.write("\n")
            text.truncate()
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _cells(self, row: Row) -> Iterator[Any]:
        for name, value in row.items():
            if name == "probabilities":
                yield from value.values() if value else [None] * len(self._labels)
            elif isinstance(value, list):
                yield "; ".join(value)
            else:
                yield str(value).lower() if isinstance(value, bool) else value

    def _rows(self) -> Iterator[tuple[str, bool, int]]:
        """Yields the path of each whole row, whether it has an error, and where it ends."""
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
                            yield cells[0], bool(cells[-1]), end
                else:
                    for line in lines():
                        if whole:
                            row = json.loads(line)
                            yield row["path"], row["error"] is not None, end
            except (ValueError, LookupError, csv.Error):
                return  # a row cut off within a cell, or what a crash of the machine left
