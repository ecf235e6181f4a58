"""What a run has measured so far, kept as it goes, so that an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from voxmood.files import write_whole
from voxmood_bench.errors import ReportError


class Rows:
    """JSON files of one run in a folder.

    Args:
        folder: made if it is not there.
        run: all that decides what is measured.

    Raises:
        ReportError: the folder holds rows of another run.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        before = self.read("run")
        if before and before != json.loads(json.dumps(run)):
            other = ", ".join(key for key in run if before.get(key) != run[key])
            raise ReportError(
                f"{folder}: holds the rows of another run ({other} differ); name another folder, "
                "or delete it."
            )
        self.write("run", run)

    def read(self, name: str) -> dict[str, Any]:
        """A row; empty if there is none yet."""
        path = self._folder / f"{name}.json"
        if not path.is_file():
            return {}
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise ReportError(f"{path}: is not valid JSON ({error}); delete it.") from None
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Keeps a row."""
        write_whole(self._folder / f"{name}.json", json.dumps(content))
