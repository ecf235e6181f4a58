"""The evaluation of one model against the labels or values that a manifest states."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxmood.audio import Channel
from voxmood.audio.listing import choose_recordings
from voxmood.bundle.calibration import COVERAGE
from voxmood.bundle.locate import locate
from voxmood.comparison import metrics
from voxmood.comparison.answers import check_report_outputs
from voxmood.comparison.bounds import Measure, passed
from voxmood.comparison.report import Report, Table
from voxmood.comparison.truth import Judged, judge, left_out, read_truth
from voxmood.model import Model, load

if TYPE_CHECKING:
    from voxmood.engine.session import Provider

CONFUSION = "true label (rows) and answer"
"""The title of the table of confusions."""

RISK = "accuracy of the most confident answers, by their share"
"""The title of the risk-coverage curve."""

HALF = 0.5
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))


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
class Answered:
    """A point of the risk-coverage curve.

    Attributes:
        share: the share of the answers that are given, the most confident ones.
        accuracy: the share of right ones among them.
    """

    share: float
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
        risk: the accuracy of the most confident answers, by their share; empty of a regression.
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
    risk: Sequence[Answered]
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
        if self.risk:
            points = [(f"{each.share:.0%}", _share(each.accuracy)) for each in self.risk]
            tables.append(Table(RISK, ("share", "accuracy"), points))
        tables += left_out(self.unknown, self.unreadable)
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
    known, unknown = read_truth(
        os.fspath(manifest),
        recordings,
        loaded.labels,
        dict(labels or {}),
        loaded.bundle.task,
        ignore_unknown,
    )
    judged = judge(loaded, known, channel=channel, place=manifest, progress=progress)
    figures = (
        _of_values(judged, loaded.labels)
        if loaded.bundle.task == "regression"
        else _of_labels(judged, loaded)
    )
    values = figures.function(figures.rows.sum(axis=0))
    ends = metrics.bootstrap(figures.rows, judged.groups, figures.function)
    measures = [
        Measure(title, _defined(value), unit=unit, interval=_interval(low, high))
        for (title, unit), value, low, high in zip(figures.titles, values, *ends, strict=True)
    ]
    measures += figures.others
    measures.append(
        Measure("unreadable recordings", len(judged.unreadable), at_most=max_unreadable)
    )
    return Evaluation(
        model=f"{locate(model).name}@{loaded.precision}",
        manifest=os.fspath(manifest),
        recordings=len(judged.answers),
        seconds=judged.seconds,
        speakers=judged.speakers,
        measures={measure.name: measure for measure in measures},
        labels=figures.labels,
        confusion=figures.confusion,
        bins=figures.bins,
        risk=figures.risk,
        unknown=unknown,
        unreadable=judged.unreadable,
    )


@dataclass(frozen=True, eq=False)
class _Figures:
    """What is measured, which depends on the task.

    Attributes:
        titles: the name and the unit of each figure.
        rows: what is summed over the recordings [recordings, columns].
        function: returns the figures of a sum of rows.
        others: measures without an interval.
    """

    titles: Sequence[tuple[str, str]]
    rows: npt.NDArray[np.float64]
    function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
    others: Sequence[Measure] = field(default_factory=list)
    labels: Sequence[Label] = field(default_factory=list)
    confusion: Sequence[Sequence[int]] = field(default_factory=list)
    bins: Sequence[Bin] = field(default_factory=list)
    risk: Sequence[Answered] = field(default_factory=list)


def _of_values(judged: Judged, names: Sequence[str]) -> _Figures:
    titles = [(f"{what} of {name}", "") for what in ("CCC", "RMSE") for name in names]
    rows = metrics.value_rows(judged.truth, judged.numbers)
    return _Figures(titles, rows, metrics.value_figures)


def _of_labels(judged: Judged, model: Model) -> _Figures:
    several = model.bundle.task == "multilabel"
    truth, numbers = judged.truth > 0, judged.numbers
    predicted, confidence = metrics.answers(numbers, several)
    known = metrics.class_rows(truth, predicted, confidence)
    titles = [("accuracy", "%"), ("UAR", "%"), ("mean F1", ""), ("expected calibration error", "")]
    titles += [(f"F1 of {name}", "") for name in model.labels]
    means = [metrics.proper_scores(truth, numbers, several)]
    titles += [("negative log-likelihood", ""), ("Brier score", "")]
    calibration = model.bundle.calibration
    if calibration and calibration.thresholds:
        sets = [set(answer.candidates()) for answer in judged.answers]
        true = [model.labels[place] for place in truth.argmax(axis=1)]
        held = [label in each for label, each in zip(true, sets, strict=True)]
        means.append(np.column_stack([held, [len(each) for each in sets]]))
        titles += [
            (f"coverage of {COVERAGE:.0%} sets", "%"),
            (f"labels in {COVERAGE:.0%} sets", ""),
        ]
    columns = known.shape[1]

    def figures(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        of_labels = metrics.ClassSums.of(sums[:columns])
        return np.concatenate([of_labels.figures(), sums[columns:] / of_labels.clips])

    sums = metrics.ClassSums.of(known.sum(axis=0))
    right = truth == predicted if several else (truth & predicted).any(axis=1)
    accuracies = metrics.accuracy_by_share(confidence.ravel(), right.ravel(), SHARES)
    risk = [Answered(share, float(each)) for share, each in zip(SHARES, accuracies, strict=True)]
    half = risk[SHARES.index(HALF)].accuracy
    return _Figures(
        titles,
        np.column_stack([known, *means]),
        figures,
        [Measure("accuracy of the most confident half", half, unit="%")],
        _by_label(model.labels, sums),
        [] if several else (judged.truth.T @ predicted).astype(int).tolist(),
        _bins(sums),
        risk,
    )


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
