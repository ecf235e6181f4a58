"""Rows: the answers for recordings or segments, as tables and JSON lines show them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from voxmood.audio import AudioSource, Channel
from voxmood.audio.channels import check_channel
from voxmood.audio.stretches import cutters
from voxmood.errors import ManifestError, VoxmoodError
from voxmood.model import Model
from voxmood.results import (
    ANSWER_FIELDS,
    SILENT,
    Prediction,
    Segment,
    Span,
    answer_fields,
    segment_fields,
)

Row: TypeAlias = dict[str, Any]
"""The values of a row by the name of their column; see `Labeler`."""

FAILURES = (VoxmoodError, OSError, MemoryError)
"""Errors that become a row with an error, and do not end the run."""


BY_LABEL = {"probabilities": "probability_", "values": "value_"}
"""The values of a row that hold a number for each label, which CSV puts into columns; and what such
a column has in front of its name if another column is called as the label."""


@dataclass(frozen=True)
class Entry:
    """A recording to label.

    Attributes:
        path: path as it was given, or URI; the rows name the recording by it.
        columns: values of the other columns of its manifest, by column.
        listed: the manifest with the line number and the name in it; empty without a manifest.
        spans: the stretches of it to label; empty to label all of it.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    listed: str = ""
    spans: Sequence[Span] = ()


class Labeler:
    """A model that answers with rows; a recording that it cannot label gets a row with an error.

    A row has `path`, `label`, `probabilities` by label, `duration_s`, `warnings` and `error`. Of a
    regression it has `values` by name instead of `label` and `probabilities`. `unsure` and
    `novelty` follow where the model knows them. With windows, a row
    describes a segment and has `start`, `end` and `silent` instead of `duration_s`. Where each
    channel is labeled by itself, every channel has rows of its own, and `channel` says which.
    Where stretches are given, each of them has a row, with the times and the columns of its line.
    The columns of manifests follow. A recording with an error has one row, in which the values
    that the model would have given are None.

    Args:
        model: the model, which threads may share.
        windows: length and hop in seconds, as `Model.timeline` takes them; None labels whole
            recordings.
        columns: columns of the manifests. A column that has the name of another column or of a
            label gets `manifest_` in front of its name. In CSV, where each label or value has a
            column, one that is called as another column gets `probability_` or `value_` in front.
        channel: which channel, as `Model.predict` takes it.
        given: whether there are recordings with given stretches.
        speech: whether to label stretches of speech instead of windows.

    Raises:
        AudioError: the model does not take such windows, or the channel is not valid.
    """

    def __init__(
        self,
        model: Model,
        windows: tuple[float, float] | None = None,
        columns: Iterable[str] = (),
        channel: Channel = "mix",
        given: bool = False,
        speech: bool = False,
    ) -> None:
        self._model = model
        self._windows = windows
        self._channel = check_channel(channel)
        self._given = given
        self._speech = speech
        if windows and given:
            raise ManifestError(
                "a manifest has the columns start and end, so there is no timeline to make; leave "
                "out one of both."
            )
        if windows:
            cutters(*windows, speech, model.bundle)  # raises now what is wrong with them
        answers = ANSWER_FIELDS[model.bundle.task]
        calibration = model.bundle.calibration
        answers += ("unsure",) * model.judges
        answers += ("novelty",) * bool(calibration and calibration.domain)
        times = windows or given
        answers = ("start", "end", *answers, "silent") if times else (*answers, "duration_s")
        named = ("channel",) if channel == "each" else ()
        own = ("path", *named, *answers, "warnings", "error")
        (prefix,) = (prefix for name, prefix in BY_LABEL.items() if name in own)
        of_labels = _free_names(prefix, model.labels, {*own}).values()
        self._carried = _free_names("manifest_", columns, {*own, *of_labels})
        self.fields = (*own, *self._carried.values())
        """The names of the values of a row, in order."""

    def __call__(self, entry: Entry, source: AudioSource | None = None) -> list[Row]:
        """Label a recording and return its rows.

        Args:
            entry: the recording.
            source: its audio, as `Model.predict` takes it; None reads the file at its path.
        """
        source = entry.path if source is None else source
        try:
            if self._windows:
                timeline = self._model.timeline(
                    source, *self._windows, channel=self._channel, speech=self._speech
                )
                segments = list(timeline)
                return [self.segment(entry, each, timeline.warnings) for each in segments]
            if entry.spans:
                given = self._model.predict_segments(source, entry.spans, channel=self._channel)
                return [self.segment(entry, each, ()) for each in given]
            predictions = self._model.predict_channels(source, channel=self._channel)
        except FAILURES as error:
            return [self.failed(entry, error)]
        return [self._prediction(entry, each) for each in predictions]

    def _prediction(self, entry: Entry, prediction: Prediction) -> Row:
        answers = {
            **answer_fields(prediction),
            "duration_s": round(prediction.duration, 3),
        }
        if self._given:
            silent = SILENT in prediction.warnings
            answers |= {"start": 0.0, "end": answers.pop("duration_s"), "silent": silent}
        return self._row(entry, answers, prediction.warnings, channel=prediction.channel)

    def segment(self, entry: Entry, segment: Segment, warnings: Sequence[str]) -> Row:
        """Return the row of a segment of a recording."""
        answers = segment_fields(segment)
        if segment.error:
            answers = {key: answers[key] for key in ("start", "end")}
        columns = segment.span.columns if segment.span else {}
        of_span = replace(entry, columns={**entry.columns, **columns})
        return self._row(of_span, answers, warnings, segment.error, segment.channel)

    def failed(self, entry: Entry, error: Exception) -> Row:
        """Return the row of a recording that has no label."""
        cause = str(error)
        if isinstance(error, MemoryError):
            cause = f"{entry.path}: needs more memory than there is."
        elif not isinstance(error, VoxmoodError):
            cause = f"{entry.path}: cannot be read ({error})."
        if entry.listed:
            cause = f"{cause} [{entry.listed}]"
        return self._row(entry, {}, (), cause)

    def _row(
        self,
        entry: Entry,
        answers: Mapping[str, Any],
        warnings: Sequence[str],
        error: str | None = None,
        channel: int | None = None,
    ) -> Row:
        row: Row = dict.fromkeys(self.fields)
        if self._channel == "each":
            row["channel"] = channel
        row |= {"path": entry.path, **answers, "warnings": list(warnings), "error": error}
        return row | {name: entry.columns.get(column) for column, name in self._carried.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the model, in the order of its logits."""
        return self._model.labels

    @property
    def carried(self) -> tuple[str, ...]:
        """The names that the columns of manifests have in rows; their values are texts or None."""
        return tuple(self._carried.values())

    @property
    def description(self) -> dict[str, Any]:
        """Everything that determines the rows; only a run with the same description may resume."""
        files = self._model.bundle.precisions[self._model.precision].files
        least = self._model.min_confidence
        return {
            "model": self._model.bundle.name,
            "precision": self._model.precision,
            "sha256": {name: file.sha256 for name, file in files.items()},
            "windows": list(self._windows) if self._windows else None,
            **({"speech": True} if self._speech else {}),
            **({} if least is None else {"min_confidence": least}),
            "columns": list(self.carried),
            **({} if self._channel == "mix" else {"channel": self._channel}),
        }


def as_json(row: Row) -> str:
    """Return a row as a line of JSON, in which file names that are not UTF-8 are escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def as_csv(row: Row, labels: Sequence[str]) -> str:
    """Return a row as a line of CSV, in which each label or value has a column of its own."""
    text = io.StringIO()
    csv.writer(text).writerow(_cells(row, labels))
    # The writer ends lines by CR LF, because it then quotes cells that hold CR or LF.
    return text.getvalue().removesuffix("\r\n") + "\n"


def csv_head(fields: Sequence[str], labels: Sequence[str]) -> str:
    """Return the header line of CSV, which names the columns of `as_csv`."""
    names: Row = {name: name for name in fields}
    for name, prefix in BY_LABEL.items():
        if name in names:
            names[name] = _free_names(prefix, labels, {*fields})
    return as_csv(names, labels)


def _cells(row: Row, labels: Sequence[str]) -> Iterator[Any]:
    for name, value in row.items():
        if name in BY_LABEL:
            yield from value.values() if value else [None] * len(labels)
        elif isinstance(value, list):
            yield "; ".join(value)
        else:
            yield str(value).lower() if isinstance(value, bool) else value


def _free_names(prefix: str, columns: Iterable[str], taken: set[str]) -> dict[str, str]:
    """Return a name for each column that is not taken yet, with a prefix if need be."""
    names = {}
    for column in columns:
        name = column
        while name in taken:
            name = prefix + name
        taken.add(name)
        names[column] = name
    return names
