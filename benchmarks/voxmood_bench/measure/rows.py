"""What a run has measured so far, kept as it goes, so that an interrupted run can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from voxmood.files import write_whole
from voxmood_bench.errors import ReportError
from voxmood_bench.report.typed_json import from_json, to_json

T = TypeVar("T")


class Rows:
    """Dataclasses of one run, in JSON files in a folder.

    Args:
        folder: made if it is missing.
        run: a dataclass of all that decides what is measured.

    Raises:
        ReportError: the folder holds the rows of another run.
    """

    def __init__(self, folder: Path, run: object) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        wanted, before = json.loads(json.dumps(to_json(run))), self._content("run")
        if before and before != wanted:
            other = ", ".join(key for key in wanted if before.get(key) != wanted[key])
            raise ReportError(
                f"{folder}: holds the rows of another run ({other} differ); name another folder, "
                "or delete it."
            )
        self.write("run", run)

    def read(self, name: str, kind: type[T]) -> T | None:
        """Return a row, or None if there is none yet.

        Raises:
            ReportError: the row cannot be read.
        """
        content = self._content(name)
        if content is None:
            return None
        try:
            return from_json(kind, content)
        except ValueError as error:
            raise ReportError(f"{self._path(name)}: is damaged ({error}); delete it.") from None

    def write(self, name: str, row: object) -> None:
        """Keep a row."""
        write_whole(self._path(name), json.dumps(to_json(row)))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _content(self, name: str) -> Any:
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ReportError(f"{path}: is not valid JSON ({error}); delete it.") from None
