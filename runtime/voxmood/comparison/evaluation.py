"""The evaluation of one model against the labels or values that a manifest states."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxmood.audio import Channel
from voxmood.audio.listing import Recording, choose_recordings
from voxmood.bundle.locate import locate
from voxmood.comparison import metrics
from voxmood.comparison.answers import answer_all, check_report_outputs, number
from voxmood.comparison.bounds import Measure, passed
from voxmood.comparison.report import Report, Table
from voxmood.errors import ManifestError
from voxmood.model import load

if TYPE_CHECKING:
    from voxmood.engine.session import Provider

SEPARATOR = "+"
"""What stands between the labels of a recording in a manifest, for a multilabel model."""

CONFUSION = "true label (rows) and answer"
"""The title of the table of confusions."""


@dataclass(frozen=True)
class Label:
    """How well a model knows one label.

    Attributes:
        name: the label.
        recordings: number of recordings of which it is true.
        precision: share of right ones among those that get it; None if none gets it.
        recall: share of those that get it among those of which it is true; None if there are none.
        f1: harmonic mean of both; None if both are None.
    """

    name: str
    recordings: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in a bin.

    Attributes:
        answers: number of answers.
        confidence: their mean confidence.
        accuracy: share of right ones among them.
    """

    answers: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        model: bundle and precision.
        manifest: the list of recordings.
        recordings: number of recordings that were labeled and whose truth is known.
        seconds: duration of these recordings in total.
        speakers: number of speakers, which the intervals are by; None if the manifest has no
            column `speaker`, so that the intervals are by recording.
        measures: every figure by name, with its 95 % interval.
        labels: how well each label is known; empty of a regression.
        confusion: number of recordings by true label (rows) and predicted label (columns), in the
            order of `labels`; empty if the model is not a classification.
        bins: the confidence of the answers and what came true; empty of a regression.
        unknown: number of recordings that were left out because the model does not have their
            label, or because no number is stated, by the text in the manifest.
        unreadable: the cause for each recording that could not be labeled, by name.
    """

    model: str
    manifest: str
    recordings: int
    seconds: float
    speakers: int | None
    measures: Mapping[str, Measure]
    labels: Sequence[Label]
    confusion: Sequence[Sequence[int]]
    bins: Sequence[Bin]
    unknown: Mapping[str, int]
    unreadable: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether no more recordings were unreadable than allowed."""
        return passed(list(self.measures.values()))

    @property
    def accuracy(self) -> float | None:
        """The share of recordings with the true label, or all true labels; None of a regression."""
        return self._value("accuracy")

    @property
    def uar(self) -> float | None:
        """The mean recall of the labels that occur; None of a regression."""
        return self._value("UAR")

    def _value(self, name: str) -> float | None:
        return self.measures[name].value if name in self.measures else None

    def report(self) -> Report:
        """Return a report that can be written as text, JSON, JUnit XML or Markdown."""
        tables = []
        if self.labels:
            header = ("label", "recordings", "precision", "recall", "F1")
            rows = [
                (
                    each.name,
                    str(each.recordings),
                    *map(_share, (each.precision, each.recall, each.f1)),
                )
                for each in self.labels
            ]
            tables.append(Table("labels", header, rows))
        if self.confusion:
            names = [each.name for each in self.labels]
            counts = [
                (name, *map(str, row)) for name, row in zip(names, self.confusion, strict=True)
            ]
            tables.append(Table(CONFUSION, ("", *names), counts))
        if self.unknown:
            left_out = [(repr(text), str(count)) for text, count in self.unknown.items()]
            title = (
                f"left out, since the truth is unknown to the model: {sum(self.unknown.values())}"
            )
            tables.append(Table(title, ("in the manifest", "recordings"), left_out))
        if self.unreadable:
            title = f"not labeled: {len(self.unreadable)}"
            tables.append(Table(title, ("recording", "cause"), list(self.unreadable.items())))
        by = "recording" if self.speakers is None else f"speaker ({self.speakers})"
        return Report(
            "voxmood evaluate",
            {
                "model": self.model,
                "manifest": f"{self.manifest}: {self.recordings} recordings, "
                f"{self.seconds / 60:.1f} min",
                "intervals": f"bootstrap by {by}",
            },
            list(self.measures.values()),
            tables,
            {key: value for key, value in asdict(self).items() if key != "measures"},
        )


def evaluate(
    model: str | os.PathLike[str] | None = None,
    *,
    manifest: str | os.PathLike[str],
    audio: str | os.PathLike[str] | None = None,
    labels: Mapping[str, str] | None = None,
    ignore_unknown: bool = False,
    max_unreadable: int = 0,
    channel: Channel = "mix",
    provider: Provider = "cpu",
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    outputs: Sequence[str | os.PathLike[str]] = (),
) -> Evaluation:
    """Measure how well a model answers for recordings whose truth is known.

    >>> voxmood.evaluate("bundle", manifest="list.csv").uar

    Every figure has a 95 % interval by bootstrap: of speakers, if the manifest has a column
    `speaker`, else of recordings.

    Args:
        model: `BUNDLE[@PRECISION]`, as `voxmood.load` takes it; None takes the one that ships.
        manifest: a CSV file with the columns `path` and `label`, and `speaker` if it is known; for
            a multilabel model, `label` holds all true labels with `+` between them. For a
            regression, the columns with the names of its values hold the true values.
        audio: the folder that the paths are relative to; None means that of the manifest.
        labels: the model's label for each label of the manifest that has another name there.
        ignore_unknown: leave out, and count, recordings whose label the model does not have, or
            that do not state a number. Otherwise they are an error.
        max_unreadable: number of recordings that may be missing or unreadable.
        channel: which channel, as `voxmood.Model.predict` takes it; of `each`, every channel counts
            as a recording.
        provider: the execution provider, as `voxmood.load` takes it.
        device: the type of hardware, as `voxmood.load` takes it.
        threads: number of threads; None takes all processors of this process.
        progress: show a progress bar on standard error, if that is a terminal.
        outputs: files that the caller will write the result to; none of them may be an input.

    Raises:
        MissingFileError: the bundle or the manifest is missing.
        BundleError, ProviderError: the model does not load.
        ManifestError: the manifest cannot be used, or has labels that the model does not have.
        AudioError: no recording can be read.
        OutputError: an output is also an input.
    """
    recordings = choose_recordings(audio, manifest, Counter())  # once, since it may be a pipe
    check_report_outputs(outputs, recordings, manifest, [model])
    loaded = load(model, provider=provider, device=device, threads=threads)
    task = loaded.bundle.task
    names = loaded.labels
    known, unknown = _known(
        os.fspath(manifest), recordings, names, dict(labels or {}), task, ignore_unknown
    )
    unreadable: dict[str, str] = {}
    used: list[Recording] = []
    found: list[list[float]] = []
    seconds = 0.0
    for recording, (answer,) in answer_all(
        [loaded],
        list(known),
        unreadable,
        channel=channel,
        place=os.fspath(manifest),
        progress=progress,
    ):
        used.append(recording)
        found.append(list(answer.numbers.values()))
        seconds += answer.duration
    truth, numbers = np.array([known[each] for each in used]), np.array(found)
    speakers = [recording.speaker or None for recording in used]  # a cell may be empty
    by_speaker = None not in speakers
    groups = np.array(speakers if by_speaker else range(len(used)))
    if task == "regression":
        rows = metrics.value_rows(truth, numbers)
        titles = [f"{what} of {name}" for what in ("CCC", "RMSE") for name in names]
        figures: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
        figures, units = metrics.value_figures, [""] * len(titles)
        by_label, confusion, bins = list[Label](), np.zeros((0, 0)), list[Bin]()
    else:
        several = task == "multilabel"
        predicted = numbers > 0.5 if several else _one_hot(numbers)
        chances = numbers if several else numbers.max(axis=1, keepdims=True)
        rows = metrics.class_rows(truth > 0, predicted, chances)
        titles = ["accuracy", "UAR", "mean F1", "expected calibration error"]
        titles += [f"F1 of {name}" for name in names]
        units = ["%", "%", "", ""] + [""] * len(names)
        sums = metrics.ClassSums.of(rows.sum(axis=0))
        by_label, bins = _by_label(names, sums), _bins(sums)
        confusion = np.zeros((0, 0)) if several else truth.T @ predicted

        def figures(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return metrics.ClassSums.of(sums).figures()

    values = figures(rows.sum(axis=0))
    ends = metrics.bootstrap(rows, groups, figures)
    measures = [
        Measure(title, _defined(value), unit=unit, interval=_interval(low, high))
        for title, value, low, high, unit in zip(titles, values, *ends, units, strict=True)
    ]
    measures.append(Measure("unreadable recordings", len(unreadable), at_most=max_unreadable))
    return Evaluation(
        model=f"{locate(model).name}@{loaded.precision}",
        manifest=os.fspath(manifest),
        recordings=len(used),
        seconds=seconds,
        speakers=len(set(speakers)) if by_speaker else None,
        measures={measure.name: measure for measure in measures},
        labels=by_label,
        confusion=confusion.astype(int).tolist(),
        bins=bins,
        unknown=unknown,
        unreadable=unreadable,
    )


def _known(
    manifest: str,
    recordings: Sequence[Recording],
    names: Sequence[str],
    renamed: Mapping[str, str],
    task: str,
    ignore_unknown: bool,
) -> tuple[dict[Recording, list[float]], dict[str, int]]:
    """Return the truth of each recording, 1 or 0 by label or the values, and what is unknown."""
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


def _one_hot(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.eye(numbers.shape[1], dtype=bool)[numbers.argmax(axis=1)])


def _by_label(names: Sequence[str], sums: metrics.ClassSums) -> list[Label]:
    columns = zip(names, sums.true, sums.precisions, sums.recalls, sums.f1, strict=True)
    return [
        Label(name, int(true), *map(_defined, (precision, recall, f1)))
        for name, true, precision, recall, f1 in columns
    ]


def _bins(sums: metrics.ClassSums) -> list[Bin]:
    return [
        Bin(int(count), confidence / count, right / count)
        for count, confidence, right in sums.bins.T.tolist()
        if count
    ]


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(low: float, high: float) -> tuple[float, float] | None:
    return None if np.isnan(low) else (float(low), float(high))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
