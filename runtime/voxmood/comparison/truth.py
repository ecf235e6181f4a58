"""The answers of a model for recordings whose truth a manifest states."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxmood.audio import Channel
from voxmood.audio.listing import Recording
from voxmood.comparison.answers import answer_all, number
from voxmood.comparison.report import Table
from voxmood.errors import ManifestError
from voxmood.model import Model
from voxmood.results import Prediction

SEPARATOR = "+"
"""What stands between the labels of a recording in a manifest, for a multilabel model."""


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers of a model for recordings whose truth is known.

    Attributes:
        truth: 1 or 0 for each label, or the value of each name, [recordings, labels].
        answers: the answers, in the same order.
        groups: the speaker of each recording; if one of them is not known, each recording is a
            group of its own.
        speakers: the number of speakers; None if one of them is not known.
        unreadable: the cause for each recording that could not be labeled, by name.
    """

    truth: npt.NDArray[np.float64]
    answers: Sequence[Prediction]
    groups: npt.NDArray[np.str_]
    speakers: int | None
    unreadable: Mapping[str, str]

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The probabilities or values [recordings, labels]."""
        return np.array([list(answer.numbers.values()) for answer in self.answers])

    @property
    def seconds(self) -> float:
        """The duration of all recordings together."""
        return sum(answer.duration for answer in self.answers)


def judge(
    model: Model,
    known: Mapping[Recording, Sequence[float]],
    *,
    channel: Channel,
    place: str | os.PathLike[str],
    progress: bool,
) -> Judged:
    """Run a model on recordings whose truth is known.

    Args:
        model: the model.
        known: the truth by recording, as `read_truth` returns it.
        channel: which channel; of `each`, every channel counts as a recording.
        place: the list of the recordings, for messages.
        progress: show a progress bar on standard error, if that is a terminal.

    Raises:
        AudioError: no recording can be read.
    """
    unreadable: dict[str, str] = {}
    found = [
        (recording, answer)
        for recording, (answer,) in answer_all(
            [model],
            list(known),
            unreadable,
            channel=channel,
            place=os.fspath(place),
            progress=progress,
        )
    ]
    used = [recording for recording, _ in found]
    speakers = [recording.speaker or "" for recording in used]  # a cell may be empty
    by_speaker = all(speakers)
    return Judged(
        truth=np.array([known[each] for each in used], np.float64),
        answers=[answer for _, answer in found],
        groups=np.array(speakers if by_speaker else [str(place) for place in range(len(used))]),
        speakers=len(set(speakers)) if by_speaker else None,
        unreadable=unreadable,
    )


def left_out(unknown: Mapping[str, int], unreadable: Mapping[str, str]) -> list[Table]:
    """Return tables of what was left out, for a report; none if nothing was.

    Args:
        unknown: number of recordings that the model does not have the truth of, by its text.
        unreadable: the cause for each recording that could not be labeled, by name.
    """
    title = f"left out, since the truth is unknown to the model: {sum(unknown.values())}"
    counts = [(repr(text), str(count)) for text, count in unknown.items()]
    causes = list(unreadable.items())
    tables = [
        Table(title, ("in the manifest", "recordings"), counts),
        Table(f"not labeled: {len(causes)}", ("recording", "cause"), causes),
    ]
    return [table for table in tables if table.rows]


def read_truth(
    manifest: str,
    recordings: Sequence[Recording],
    names: Sequence[str],
    renamed: Mapping[str, str],
    task: str,
    ignore_unknown: bool,
) -> tuple[dict[Recording, list[float]], dict[str, int]]:
    """Return the truth of each recording, and what is left out since the model does not have it.

    Args:
        manifest: the name of the manifest, for messages.
        recordings: what it lists.
        names: the labels of the model, or the names of its values.
        renamed: the model's label for each label of the manifest that has another name there.
        task: what the model does, one of `voxmood.bundle.description.OUTPUTS`.
        ignore_unknown: leave out recordings of unknown truth; otherwise they are an error.

    Returns:
        1 or 0 for each label, or the values, by recording; and how many recordings were left out,
        by the text in the manifest.

    Raises:
        ManifestError: a column is missing, or the manifest has labels that the model does not have.
    """
    missing = set(renamed.values()) - set(names)
    if missing:
        raise ManifestError(
            f"labels: {', '.join(sorted(map(repr, missing)))} is not a label of the model; it has "
            f"{', '.join(names)}."
        )
    columns = names if task == "regression" else ("label",)
    for column in columns:
        if column not in recordings[0].columns:
            raise ManifestError(
                f"{manifest}: has no column `{column}`, which must state the truth."
            )
    known: dict[Recording, list[float]] = {}
    unknown = Counter[str]()
    for recording in recordings:
        if task == "regression":
            cells = [recording.columns[name] for name in names]
            values = [number(cell) for cell in cells]
            wrong = [f"{n} {c}" for n, c, v in zip(names, cells, values, strict=True) if v is None]
            row = [value for value in values if value is not None]
        else:
            texts = [recording.label or ""]
            if task == "multilabel":
                texts = [text for text in texts[0].split(SEPARATOR) if text]
            true = [renamed.get(text, text) for text in texts]
            wrong = [text for text in true if text not in names]
            row = [float(name in true) for name in names]
        if wrong:
            unknown[" ".join(wrong)] += 1
        else:
            known[recording] = row
    if unknown and not (ignore_unknown and known):
        listed = ", ".join(f"{text!r} ({count})" for text, count in unknown.most_common())
        what = "states no number for" if task == "regression" else "has labels unknown to the model"
        raise ManifestError(
            f"{manifest}: {what}: {listed}; the model has {', '.join(names)}. Rename them "
            "(labels=, or --labels OLD=NEW,...), or leave those recordings out (ignore_unknown=, "
            "or --ignore-unknown)."
        )
    return known, dict(unknown.most_common())
