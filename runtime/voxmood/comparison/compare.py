"""The check whether a model decides as its reference does, on the same recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxmood.audio import Channel
from voxmood.audio.listing import Recording, choose_recordings, skipped_text
from voxmood.bundle.locate import locate
from voxmood.comparison import metrics
from voxmood.comparison.answers import answer_all, check_report_outputs, number
from voxmood.comparison.bounds import MIN_AGREEMENT, Measure, passed
from voxmood.comparison.report import Report, Table
from voxmood.engine.session import Provider
from voxmood.errors import BundleError, ManifestError
from voxmood.model import Model, load
from voxmood.results import Prediction

JOIN = " + "
"""What stands between the labels of a multilabel model."""


@dataclass(frozen=True)
class Changed:
    """A recording to which the two models give different labels.

    Attributes:
        file: name of the recording.
        reference: label that the reference gives; of a multilabel model all labels, joined by `+`.
        candidate: label that the candidate gives, in the same way.
        reference_probabilities: probability of each label according to the reference.
        candidate_probabilities: probability of each label according to the candidate.
        margin: difference between the probabilities of the reference's two most probable labels; of
            a multilabel model, how far the farthest label that changed was from one half. If it is
            small, the reference itself was undecided.
        label: the true label, or None if it is not known.
    """

    file: str
    reference: str
    candidate: str
    reference_probabilities: Mapping[str, float]
    candidate_probabilities: Mapping[str, float]
    margin: float
    label: str | None

    def row(self) -> list[str]:
        """Return a row of the report, with both labels' probabilities according to each model."""

        def labels(text: str) -> set[str]:
            return {text} if text in self.reference_probabilities else {*text.split(JOIN)}

        mine, other = labels(self.reference), labels(self.candidate)
        changed = [label for label in self.reference_probabilities if label in mine ^ other]

        def answer(probabilities: Mapping[str, float], first: set[str]) -> str:
            ordered = sorted(changed, key=lambda label: label not in first)
            return ", ".join(f"{label} {probabilities[label]:.1%}" for label in ordered)

        truth = [] if self.label is None else [self.label]
        return [
            self.file,
            answer(self.reference_probabilities, mine),
            answer(self.candidate_probabilities, other),
            f"{self.margin:.1%}",
            *truth,
        ]


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        reference: bundle and precision of the trusted model.
        candidate: bundle and precision of the checked model.
        audio: the folder of recordings, or the manifest if no folder was given.
        recordings: number of recordings that were compared.
        seconds: duration of these recordings in total.
        measures: every figure by name, with its bounds if it has any.
        changed: recordings whose label changed, in the order of decreasing margin.
        unreadable: the cause for each recording that could not be compared, by name.
        skipped: number of files in the folder that are not recordings, by suffix.
    """

    reference: str
    candidate: str
    audio: str
    recordings: int
    seconds: float
    measures: Mapping[str, Measure]
    changed: Sequence[Changed]
    unreadable: Mapping[str, str]
    skipped: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether every bound is met."""
        return passed(list(self.measures.values()))

    def report(self) -> Report:
        """Return a report that can be written as text, JSON, JUnit XML or Markdown."""
        minutes = self.seconds / 60
        truth = any(change.label is not None for change in self.changed)
        header = ("recording", "reference", "candidate", "margin", *(["truth"] if truth else []))
        rows = [change.row() for change in self.changed]
        tables = []
        if rows:
            tables.append(Table(f"changed decisions: {len(rows)}", header, rows))
        if self.unreadable:
            title = f"not compared: {len(self.unreadable)}"
            tables.append(Table(title, ("recording", "cause"), list(self.unreadable.items())))
        return Report(
            "voxmood compare",
            {
                "reference": self.reference,
                "candidate": self.candidate,
                "audio": f"{self.audio}: {self.recordings} recordings, {minutes:.1f} min",
                **({"skipped": skipped_text(self.skipped)} if self.skipped else {}),
            },
            list(self.measures.values()),
            tables,
            {key: value for key, value in asdict(self).items() if key != "measures"},
        )


def compare(
    reference: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    *,
    audio: str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    min_agreement: float = MIN_AGREEMENT,
    max_drift: float | None = None,
    min_sqnr: float | None = None,
    max_unreadable: int = 0,
    provider: Provider = "cpu",
    device: str | None = None,
    channel: Channel = "mix",
    threads: int | None = None,
    progress: bool = False,
    outputs: Sequence[str | os.PathLike[str]] = (),
) -> Comparison:
    """Compare the answers of a model with those of a reference, recording by recording.

    >>> voxmood.compare("bundle@fp32", "bundle@int8", audio="folder").passed

    Args:
        reference: `BUNDLE[@PRECISION]` of the trusted model.
        candidate: `BUNDLE[@PRECISION]` of the checked model.
        audio: a folder of recordings; required unless there is a manifest.
        manifest: a CSV file whose column `path` names the recordings to compare, relative to
            `audio`, or to the folder of the CSV file if `audio` is None. A column `label`, if there
            is one, holds the true labels; see `voxmood.audio.listing.read_manifest`. Of a
            regression, the columns with the names of its values hold the true values.
        min_agreement: lower bound of the share of recordings with the same label; of a regression,
            of the concordance correlation coefficient of each value.
        max_drift: upper bound of |Δprobability|, or of |Δ| of values, over all labels and
            recordings.
        min_sqnr: lower bound of the signal-to-quantization-noise ratio of centered logits, or of
            values, in dB.
        max_unreadable: number of recordings that may be missing or unreadable.
        provider: the execution provider of the candidate, as `voxmood.load` takes it; the reference
            runs on the CPU.
        device: the type of hardware that the candidate must run on, as `voxmood.load` takes it.
        channel: which channel, as `voxmood.Model.predict` takes it; of `each`, every channel counts
            as a recording.
        threads: number of threads of each model; None takes all processors of this process.
        progress: show a progress bar on standard error, if that is a terminal.
        outputs: files that the caller will write the result to; none of them may be an input.

    Raises:
        MissingFileError: a bundle, the folder or the manifest is missing.
        BundleError: a bundle is damaged, or the two models differ in their labels, sampling rate
            or architecture, or are the same.
        ProviderError: the provider is not installed, does not start or has no such device.
        ManifestError: the manifest cannot be used, or has labels that the models do not have.
        AudioError: no recording can be read.
        OutputError: an output is also an input.
    """
    skipped = Counter[str]()
    recordings = choose_recordings(audio, manifest, skipped)  # once, since it may be a pipe
    check_report_outputs(outputs, recordings, manifest, [reference, candidate])
    place = str(manifest if audio is None else Path(audio))
    names, models = _load_both(reference, candidate, provider, device, threads)
    if models[0].bundle.task == "classification":
        _check_labels(str(manifest), recordings, models[0].labels)
    elif models[0].bundle.task == "regression":
        _check_values(str(manifest), recordings, models[0].labels)

    compared: list[Recording] = []
    answers: list[list[Prediction]] = []
    unreadable: dict[str, str] = {}
    for recording, both in answer_all(
        models, recordings, unreadable, channel=channel, place=place, progress=progress
    ):
        compared.append(recording)
        answers.append(both)
    by_model = list(zip(*answers, strict=True))
    task, labels = models[0].bundle.task, models[0].labels
    logits = [np.stack([answer.logits for answer in each]) for each in by_model]
    numbers = [np.array([list(answer.numbers.values()) for answer in each]) for each in by_model]
    if task == "regression":
        truth = _against_values(compared, labels, logits)
    elif task == "classification":
        truth = _against_truth(
            [recording.label for recording in compared],
            *([answer.label or "" for answer in each] for each in by_model),
        )
    else:
        truth = []
    measures = [
        *measure_difference(
            (logits[0], logits[1]),
            (numbers[0], numbers[1]),
            task,
            labels,
            min_agreement=min_agreement,
            max_drift=max_drift,
            min_sqnr=min_sqnr,
        ),
        *truth,
        Measure("unreadable recordings", len(unreadable), at_most=max_unreadable),
    ]
    changed = []
    if task != "regression":
        same = metrics.same_label(logits[0], logits[1], task)
        describe = _changed_set if task == "multilabel" else _changed
        changed = [
            describe(recording, *pair)
            for recording, pair, kept in zip(compared, answers, same, strict=True)
            if not kept
        ]
    return Comparison(
        reference=names[0],
        candidate=names[1],
        audio=place,
        recordings=len(compared),
        seconds=sum(both[0].duration for both in answers),
        measures={measure.name: measure for measure in measures},
        changed=sorted(changed, key=lambda change: -change.margin),
        unreadable=unreadable,
        skipped=dict(skipped),
    )


def measure_difference(
    logits: tuple[npt.ArrayLike, npt.ArrayLike],
    numbers: tuple[npt.ArrayLike, npt.ArrayLike],
    task: str,
    names: Sequence[str],
    *,
    min_agreement: float | None = None,
    max_drift: float | None = None,
    min_sqnr: float | None = None,
) -> list[Measure]:
    """Measure how far a model's answers are from those of a reference.

    Args:
        logits: logits of the reference and of the model [clips, labels]; of a regression, values.
        numbers: their probabilities, of the same shape; of a regression, their values.
        task: what both models do, one of `voxmood.bundle.description.OUTPUTS`.
        names: the labels, or the names of the values.
        min_agreement: lower bound of the share of clips with the same label; of a regression, of
            the concordance correlation coefficient of each value.
        max_drift: upper bound of |Δprobability|; of a regression, of |Δ| of a value.
        min_sqnr: lower bound of the signal-to-quantization-noise ratio in dB.
    """
    first, second = map(np.asarray, logits)
    finite = np.all([np.isfinite(output).all(axis=-1) for output in logits + numbers], axis=0)
    if task == "regression":
        agreement = [
            Measure(
                f"CCC of {name}", metrics.ccc(first[:, i], second[:, i]), at_least=min_agreement
            )
            for i, name in enumerate(names)
        ]
        kind = "difference of a value"
    else:
        same = metrics.same_label(first, second, task)
        interval = metrics.wilson(int(same.sum()), len(same))
        share = float(same.mean())
        agreement = [
            Measure("label agreement", share, at_least=min_agreement, unit="%", interval=interval)
        ]
        kind = "probability drift"
    largest, mean = metrics.drift(*numbers)
    return [
        *agreement,
        Measure(f"largest {kind}", largest, at_most=max_drift),
        Measure(f"mean {kind}", mean),
        Measure("SQNR", metrics.sqnr(first, second, task), at_least=min_sqnr, unit="dB"),
        Measure("answers that are not finite", int((~finite).sum()), at_most=0),
    ]


def _load_both(
    reference: str | os.PathLike[str],
    candidate: str | os.PathLike[str],
    provider: Provider,
    device: str | None,
    threads: int | None,
) -> tuple[list[str], list[Model]]:
    """Load both models and return their names and them, after checking that they are comparable."""
    places, names, models = [], [], []
    for name, where in ((reference, ("cpu", None)), (candidate, (provider, device))):
        location = locate(name)
        model = load(name, provider=where[0], device=where[1], threads=threads)
        folder = location.place if isinstance(location.place, Path) else None
        ran_on = sorted(model.nodes) or [str(where[0])]  # ONNX Runtime 1.23 knows no nodes
        places.append((os.path.realpath(folder or location.name), model.precision, ran_on))
        others = [] if where[0] == "cpu" else [f" on {', '.join(ran_on)}"]
        names.append("".join([f"{location.name}@{model.precision}", *others]))
        models.append(model)
    if places[0] == places[1]:
        raise BundleError(
            f"{names[0]} would be compared with itself and would always pass; name two precisions, "
            "as in BUNDLE@fp32 BUNDLE@int8."
        )
    first, second = (model.bundle for model in models)
    for key in ("task", "labels", "sampling_rate", "architecture"):
        values = [getattr(bundle, key) for bundle in (first, second)]
        if values[0] != values[1]:
            texts = [", ".join(each) if isinstance(each, tuple) else str(each) for each in values]
            raise BundleError(
                f"{names[0]} and {names[1]} cannot be compared, because they differ: "
                f"{key.replace('_', ' ')} {texts[0]} against {texts[1]}."
            )
    return names, models


def _check_labels(manifest: str, recordings: Sequence[Recording], labels: Sequence[str]) -> None:
    unknown = {recording.label for recording in recordings} - {*labels, None}
    if unknown:
        raise ManifestError(
            f"{manifest}: has labels that the model does not have: "
            f"{', '.join(sorted(map(repr, unknown)))}; it has {', '.join(labels)}. Rename them, or "
            "remove those recordings."
        )


def _check_values(manifest: str, recordings: Sequence[Recording], names: Sequence[str]) -> None:
    for recording in recordings:
        for name in names:
            text = recording.columns.get(name)
            if text is not None and number(text) is None:
                raise ManifestError(
                    f"{manifest}: {recording.name} has {text[:40]!r} as its {name}; write a number."
                )


def _against_values(
    recordings: Sequence[Recording], names: Sequence[str], values: Sequence[npt.NDArray[np.float32]]
) -> list[Measure]:
    """Return the measures of the values that every recording states in a column of their name."""
    measures = []
    for index, name in enumerate(names):
        truth = [number(recording.columns.get(name, "")) for recording in recordings]
        if None in truth:
            continue
        for model, found in zip(("reference", "candidate"), values, strict=True):
            numbers = np.array(truth, np.float64)
            measures.append(
                Measure(f"CCC of {model} to true {name}", metrics.ccc(numbers, found[:, index]))
            )
    return measures


def _against_truth(
    truth: Sequence[str | None], reference: Sequence[str], candidate: Sequence[str]
) -> list[Measure]:
    """Return the measures that need true labels, or none if a label is not known."""
    if None in truth:
        return []
    labels = np.array(truth, str)
    p = metrics.mcnemar(labels == np.array(reference), labels == np.array(candidate))
    return [
        Measure("accuracy of reference", metrics.accuracy(labels, reference), unit="%"),
        Measure("accuracy of candidate", metrics.accuracy(labels, candidate), unit="%"),
        Measure("UAR of reference", metrics.uar(labels, reference), unit="%"),
        Measure("UAR of candidate", metrics.uar(labels, candidate), unit="%"),
        Measure("exact McNemar p of their accuracies", p),
    ]


def _name(recording: Recording, answer: Prediction) -> str:
    name = recording.name
    return name if answer.channel is None else f"{name} [channel {answer.channel}]"


def _changed(recording: Recording, reference: Prediction, candidate: Prediction) -> Changed:
    top = sorted(reference.numbers.values())[-2:]
    return Changed(
        file=_name(recording, reference),
        reference=reference.label or "",
        candidate=candidate.label or "",
        reference_probabilities=reference.numbers,
        candidate_probabilities=candidate.numbers,
        margin=top[-1] - top[0],
        label=recording.label,
    )


def _changed_set(recording: Recording, reference: Prediction, candidate: Prediction) -> Changed:
    """Return the same of a multilabel model, of which several labels may be true."""
    first, second = reference.numbers, candidate.numbers
    sets = [[label for label, p in each.items() if p > 0.5] for each in (first, second)]
    changed = {*sets[0]} ^ {*sets[1]}
    return Changed(
        file=_name(recording, reference),
        reference=JOIN.join(sets[0]),
        candidate=JOIN.join(sets[1]),
        reference_probabilities=first,
        candidate_probabilities=second,
        margin=max((abs(first[label] - 0.5) for label in changed), default=0.0),
        label=recording.label,
    )
