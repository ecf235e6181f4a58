"""The check whether a model decides as its reference does, on the same recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxmood.audio.listing import Recording, choose_recordings, skipped_text
from voxmood.bundle.locate import bundle_files, locate
from voxmood.comparison import metrics
from voxmood.comparison.bounds import MIN_AGREEMENT, Measure, passed
from voxmood.comparison.report import Report, Table
from voxmood.engine.session import Provider
from voxmood.errors import AudioError, BundleError, ManifestError
from voxmood.files import check_outputs
from voxmood.model import Model, load
from voxmood.results import Prediction


@dataclass(frozen=True)
class Changed:
    """A recording to which the two models give different labels.

    Attributes:
        file: name of the recording.
        reference: label that the reference gives.
        candidate: label that the candidate gives.
        reference_probabilities: probability of each label according to the reference.
        candidate_probabilities: probability of each label according to the candidate.
        margin: difference between the probabilities of the reference's two most probable labels;
            if it is small, the reference itself was undecided.
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

        def answer(probabilities: Mapping[str, float], mine: str, other: str) -> str:
            return f"{mine} {probabilities[mine]:.1%}, {other} {probabilities[other]:.1%}"

        truth = [] if self.label is None else [self.label]
        return [
            self.file,
            answer(self.reference_probabilities, self.reference, self.candidate),
            answer(self.candidate_probabilities, self.candidate, self.reference),
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
            is one, holds the true labels; see `voxmood.audio.listing.read_manifest`.
        min_agreement: lower bound of the share of recordings with the same label.
        max_drift: upper bound of |Δprobability| over all labels and recordings.
        min_sqnr: lower bound of the signal-to-quantization-noise ratio of centered logits, in dB.
        max_unreadable: number of recordings that may be missing or unreadable.
        provider: the execution provider of the candidate, as `voxmood.load` takes it; the reference
            runs on the CPU.
        device: the type of hardware that the candidate must run on, as `voxmood.load` takes it.
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
    if outputs:
        inputs = [recording.path for recording in recordings]
        inputs += [Path(manifest)] if manifest is not None else []
        inputs += bundle_files(os.fspath(reference)) + bundle_files(os.fspath(candidate))
        check_outputs([Path(output) for output in outputs], inputs)
    place = str(manifest if audio is None else Path(audio))
    names, models = _load_both(reference, candidate, provider, device, threads)
    _check_labels(str(manifest), recordings, models[0].labels)

    from tqdm import tqdm  # imported late, since `import voxmood` must be quick

    compared: list[Recording] = []
    answers: list[tuple[Prediction, Prediction]] = []
    unreadable: dict[str, str] = {}
    # With disable=None, tqdm shows a bar only on a terminal, and none in the log of a CI job.
    for recording in tqdm(recordings, unit="recording", disable=None if progress else True):
        try:
            first, second = (model.predict(recording.path) for model in models)
        except (AudioError, OSError, MemoryError) as error:
            cause = str(error).removeprefix(f"{recording.path}: ") or type(error).__name__
            listed = f" [{recording.listed}]" if recording.listed else ""
            unreadable[recording.name] = cause + listed
        else:
            compared.append(recording)
            answers.append((first, second))
    if not compared:
        name, cause = next(iter(unreadable.items()))
        raise AudioError(
            f"{place}: none of {len(recordings)} recordings can be read; for example, "
            f"{name}: {cause}"
        )
    by_model = list(zip(*answers, strict=True))
    logits = [np.stack([answer.logits for answer in each]) for each in by_model]
    probabilities = [
        np.array([list(answer.probabilities.values()) for answer in each]) for each in by_model
    ]
    measures = [
        *measure_difference(
            *logits,
            *probabilities,
            min_agreement=min_agreement,
            max_drift=max_drift,
            min_sqnr=min_sqnr,
        ),
        *_against_truth(
            [recording.label for recording in compared],
            *([answer.label for answer in each] for each in by_model),
        ),
        Measure("unreadable recordings", len(unreadable), at_most=max_unreadable),
    ]
    same = metrics.same_label(*logits)
    changed = [
        _changed(recording, *pair)
        for recording, pair, kept in zip(compared, answers, same, strict=True)
        if not kept
    ]
    return Comparison(
        reference=names[0],
        candidate=names[1],
        audio=place,
        recordings=len(compared),
        seconds=sum(first.duration for first, _ in answers),
        measures={measure.name: measure for measure in measures},
        changed=sorted(changed, key=lambda change: -change.margin),
        unreadable=unreadable,
        skipped=dict(skipped),
    )


def measure_difference(
    reference_logits: npt.ArrayLike,
    candidate_logits: npt.ArrayLike,
    reference_probabilities: npt.ArrayLike,
    candidate_probabilities: npt.ArrayLike,
    *,
    min_agreement: float | None = None,
    max_drift: float | None = None,
    min_sqnr: float | None = None,
) -> list[Measure]:
    """Measure how far a model's answers are from those of a reference.

    Args:
        reference_logits: logits of the reference [clips, labels].
        candidate_logits: logits of the model, of the same shape.
        reference_probabilities: probabilities of the reference, of the same shape.
        candidate_probabilities: probabilities of the model, of the same shape.
        min_agreement: lower bound of the share of clips with the same label.
        max_drift: upper bound of |Δprobability|.
        min_sqnr: lower bound of the signal-to-quantization-noise ratio in dB.
    """
    same = metrics.same_label(reference_logits, candidate_logits)
    largest, mean = metrics.drift(reference_probabilities, candidate_probabilities)
    outputs = (reference_logits, candidate_logits, reference_probabilities, candidate_probabilities)
    finite = np.all([np.isfinite(output).all(axis=-1) for output in outputs], axis=0)
    return [
        Measure(
            "label agreement",
            float(same.mean()),
            at_least=min_agreement,
            unit="%",
            interval=metrics.wilson(int(same.sum()), len(same)),
        ),
        Measure("largest probability drift", largest, at_most=max_drift),
        Measure("mean probability drift", mean),
        Measure(
            "SQNR of centred logits",
            metrics.sqnr(reference_logits, candidate_logits),
            at_least=min_sqnr,
            unit="dB",
        ),
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
    for key in ("labels", "sampling_rate", "architecture"):
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


def _changed(recording: Recording, reference: Prediction, candidate: Prediction) -> Changed:
    top = sorted(reference.probabilities.values())[-2:]
    return Changed(
        file=recording.name,
        reference=reference.label,
        candidate=candidate.label,
        reference_probabilities=reference.probabilities,
        candidate_probabilities=candidate.probabilities,
        margin=top[-1] - top[0],
        label=recording.label,
    )
