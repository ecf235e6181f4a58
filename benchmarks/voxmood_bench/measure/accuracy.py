"""How near the answers of engines are to the reference's, and how often their labels are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from voxmood.audio import read_waveform
from voxmood.audio.listing import Recording
from voxmood.comparison.evaluation import SHARES
from voxmood.comparison.metrics import accuracy_by_share, agreement, ccc, drift, mcnemar, sqnr
from voxmood_bench.measure.datasets import Utterance
from voxmood_bench.measure.rounds import Runner
from voxmood_bench.report.schema import (
    DRIFT_PERCENTILES,
    Answered,
    Closeness,
    ConfidenceBin,
    Intervals,
    Scores,
    ValueCloseness,
    ValuesCloseness,
)

RESAMPLES = 2000
CALIBRATION_BINS = 15

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.integer[Any]]


def baseline_logits(worker: Runner, source: Path, scratch: Path, rate: int) -> Floats:
    """Return a baseline's logits [labels] of a recording.

    The recording is read here, since the baseline's process may not know how to.

    Args:
        worker: has the model loaded.
        source: the recording.
        scratch: a file that the waveform goes through.
        rate: the model's sampling rate.
    """
    np.save(scratch, read_waveform(source, rate=rate, max_seconds=3600))
    return np.array(worker.run(scratch).logits, np.float32)


def closeness(
    engine: str, reference: Floats, candidate: Floats, task: str = "classification"
) -> Closeness:
    """Return how near the logits [clips, labels] of an engine are to the reference's."""
    if task == "multilabel":
        before, after = expit(reference), expit(candidate)
    else:
        before, after = softmax(reference, axis=1), softmax(candidate, axis=1)
    largest, mean = drift(before, after)
    changes = np.abs(after - before).max(axis=1)
    return Closeness(
        engine=engine,
        agreement=agreement(reference, candidate, task),
        sqnr_db=_finite(sqnr(reference, candidate, task)),
        max_logit_error=float(np.abs(candidate - reference).max()),
        max_drift=largest,
        mean_drift=mean,
        drift_quantiles=np.percentile(changes, DRIFT_PERCENTILES).tolist(),
    )


def values_closeness(
    engine: str, names: Sequence[str], reference: Floats, candidate: Floats
) -> ValuesCloseness:
    """Return how near the values [clips, names] of an engine are to the reference's."""
    values = {}
    for name, before, after in zip(names, reference.T, candidate.T, strict=True):
        largest, mean = drift(before, after)
        values[name] = ValueCloseness(ccc(before, after), largest, mean)
    return ValuesCloseness(engine, values, _finite(sqnr(reference, candidate, "regression")))


def _finite(ratio: float) -> float | None:
    return ratio if math.isfinite(ratio) else None


def scores(
    engine: str,
    labels: Sequence[str],
    recordings: Sequence[Recording],
    logits: Floats,
    reference: Floats,
    temperature: float = 1.0,
) -> Scores:
    """Return the scores of an engine's logits [clips, labels] on labeled recordings.

    Args:
        engine: the name of the engine.
        labels: in the order of the logits.
        recordings: the recordings, with their labels.
        logits: the engine's logits.
        reference: the reference's logits.
        temperature: what the engine divides its logits by before the softmax.
    """
    truth = np.array([labels.index(recording.label or "") for recording in recordings])
    guess, expected = logits.argmax(axis=1), reference.argmax(axis=1)
    there = sorted(set(truth.tolist()))
    folds = np.array([each.fold for each in recordings if isinstance(each, Utterance)])
    accuracies = {
        str(fold): float(accuracy_score(truth[folds == fold], guess[folds == fold]))
        for fold in (np.unique(folds) if len(folds) == len(recordings) else ())
    }
    probabilities = softmax(logits / temperature, axis=1)
    return Scores(
        **vars(closeness(engine, reference, logits)),
        accuracy=float(accuracy_score(truth, guess)),
        uar=float(recall_score(truth, guess, labels=there, average="macro", zero_division=0)),
        ece=calibration_error(probabilities, truth),
        confusion=confusion_matrix(truth, guess, labels=range(len(labels))).tolist(),
        intervals=intervals(truth, guess, expected, recordings, len(labels)),
        mcnemar_p=mcnemar(expected == truth, guess == truth),
        folds=accuracies or None,
        bins=confidence_bins(probabilities, truth),
        risk=risk(probabilities, truth),
    )


def calibration_error(probabilities: Floats, truth: Indices) -> float:
    """Return the expected calibration error of probabilities [clips, labels].

    It is the mean of |accuracy - mean probability| over equally wide bins of the highest
    probability, weighted by clips (Guo et al., On Calibration of Modern Neural Networks, ICML
    2017).
    """
    bins = confidence_bins(probabilities, truth)
    return sum(each.answers * abs(each.accuracy - each.confidence) for each in bins) / len(truth)


def confidence_bins(probabilities: Floats, truth: Indices) -> list[ConfidenceBin]:
    """Return the bins of the highest probability that have answers, the lowest first."""
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    places = np.minimum((highest * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    inside = [places == place for place in np.unique(places)]
    return [
        ConfidenceBin(int(each.sum()), float(highest[each].mean()), float(right[each].mean()))
        for each in inside
    ]


def risk(probabilities: Floats, truth: Indices) -> list[Answered]:
    """Return how many of the most confident answers are right, by the share that is answered."""
    right = probabilities.argmax(axis=1) == truth
    found = accuracy_by_share(probabilities.max(axis=1), right, SHARES)
    return [Answered(share, float(each)) for share, each in zip(SHARES, found, strict=True)]


def intervals(
    truth: Indices,
    guess: Indices,
    reference: Indices,
    recordings: Sequence[Recording],
    labels: int,
) -> Intervals:
    """Return 95 % percentile bootstrap intervals; speakers are drawn with all their recordings.

    Recordings of a speaker are alike, so drawing single recordings would make the intervals too
    narrow. Where the dataset names no speakers, there is no other way.
    """
    speakers = [recording.speaker for recording in recordings]
    drawn_by = "speaker" if all(speakers) and len(set(speakers)) > 1 else "recording"
    groups = np.array(speakers if drawn_by == "speaker" else range(len(truth)))
    names = np.unique(groups)
    # Sums over a group are all that the scores need.
    confusions = np.stack(
        [
            confusion_matrix(truth[groups == name], guess[groups == name], labels=range(labels))
            for name in names
        ]
    )
    agreeing = np.array([(guess == reference)[groups == name].sum() for name in names])
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    weights = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    confusion = np.tensordot(weights, confusions, 1)
    hits, totals = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    recalls = np.where(totals > 0, hits / np.maximum(totals, 1), np.nan)
    clips = totals.sum(axis=1)
    return Intervals(
        drawn_by=drawn_by,
        accuracy=_interval(hits.sum(axis=1) / clips),
        uar=_interval(np.nanmean(recalls, axis=1)),
        agreement=_interval(weights @ agreeing / clips),
    )


def _interval(samples: Floats) -> tuple[float, float]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)
