"""Databases of audformat (extra `annotations`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from voxmood.errors import MissingExtraError
from voxmood.results import Segment

try:
    import audformat
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "a database needs audformat, which is not installed: pip install 'voxmood[annotations]'."
    ) from error


KINDS = {"speaker": "str", "channel": "int", "label": "str", "unsure": "bool"}
"""The types of columns; all others hold floats."""


def write_audformat(folder: Path, segments: Sequence[Segment], *, name: str, model: str) -> None:
    """Write a database with one table, `segments`: the answers by file, start and end.

    Args:
        folder: the folder to write `db.yaml` and the table to.
        segments: the segments; those without an answer are left out.
        name: the file name of the recording.
        model: the name of the model.
    """
    answered = [segment for segment in segments if segment.numbers]
    database = audformat.Database(Path(name).stem, description=f"Answers of {model}.")
    table = database["segments"] = audformat.Table(
        audformat.segmented_index(
            [name] * len(answered),
            [f"{segment.start}s" for segment in answered],
            [f"{segment.end}s" for segment in answered],
        )
    )
    for column, cells in _columns(answered).items():
        kind = KINDS.get(column, "float")
        database.schemes[column] = audformat.Scheme(kind)
        table[column] = audformat.Column(scheme_id=column)
        table[column].set(cells)
    database.save(str(folder), storage_format="csv")


def _columns(segments: Sequence[Segment]) -> Mapping[str, Sequence[object]]:
    """Return what is known about segments and their numbers as columns, without unused ones."""
    names = list(dict.fromkeys(name for segment in segments for name in segment.numbers))
    columns: dict[str, list[object]] = {
        "speaker": [segment.speaker for segment in segments],
        "channel": [segment.channel for segment in segments],
        "label": [segment.label for segment in segments],
        "unsure": [segment.unsure for segment in segments],
    }
    used = {
        name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)
    }
    return used | {name: [segment.numbers.get(name) for segment in segments] for name in names}
