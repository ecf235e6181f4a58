"""The file of a report: the one reader and the one writer of `report.json`."""

from __future__ import annotations

import json
from pathlib import Path

from voxmood.errors import MissingFileError
from voxmood.files import write_whole
from voxmood_bench.errors import ReportError
from voxmood_bench.report.schema import VERSION, BenchmarkReport
from voxmood_bench.report.typed_json import from_json, to_json


def read_report(path: Path) -> BenchmarkReport:
    """Return the report that `voxmood bench run` wrote to a file.

    Raises:
        MissingFileError: the file is missing.
        ReportError: the file holds something else, or a report of another version.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; `voxmood bench run` writes report.json.")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ReportError(f"{path}: is not valid JSON ({error}).") from None
    if not isinstance(content, dict) or not {"version", "speed"} <= content.keys():
        raise ReportError(f"{path}: is not a report of `voxmood bench run`.")
    if content["version"] != VERSION:
        raise ReportError(
            f"{path}: is of version {content['version']}, this release reads {VERSION}; run the "
            "benchmark again."
        )
    try:
        return from_json(BenchmarkReport, content)
    except ValueError as error:
        raise ReportError(f"{path}: is a damaged report ({error}).") from None


def write_report(path: Path, report: BenchmarkReport) -> None:
    """Write a report to a file, whole or not at all.

    Raises:
        VoxmoodError: the file cannot be written.
    """
    write_whole(path, json.dumps(to_json(report), indent=1) + "\n")
