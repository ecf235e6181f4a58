"""Labels of engines on recordings: how often right, and how often the reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from voxmood import Prediction
from voxmood.audio import read_waveform
from voxmood.audio.listing import Recording
from voxmood.comparison.metrics import agreement, drift, mcnemar, sqnr
from voxmood_bench.datasets import Utterance
from voxmood_bench.speed import Asked

RESAMPLES = 2000
CALIBRATION_BINS = 15
DRIFT_QUANTILES = tuple(range(0, 101, 5))  # percent of the clips

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.integer[Any]]


class Predictor(Protocol):
    """What labels recordings: `voxmood.Model`, `Reference`, or a peer behind the same call."""

    def predict(self, source: Path) -> Prediction:
        """Labels one recording."""
        ...


class Peer:
    """A peer's process as a predictor; recordings are read here, since it may not know how to.

    Args:
        worker: with the model loaded.
        scratch: a file for waveforms to go through.
        labels, rate: of the model.
    """

    def __init__(self, worker: Asked, scratch: Path, labels: Sequence[str], rate: int) -> None:
        self._worker, self._scratch, self._labels, self._rate = worker, scratch, labels, rate

    def predict(self, source: Path) -> Prediction:
        """Labels one recording."""
        waveform = read_waveform(source, rate=self._rate, max_seconds=3600)
        np.save(self._scratch, waveform)
        answer = self._worker.ask("run", audio=str(self._scratch), least_seconds=0.0, most_runs=1)
        logits = np.array(answer["logits"], np.float32)
        return Prediction(
            label=self._labels[int(np.argmax(logits))],
            probabilities=dict(zip(self._labels, softmax(logits).tolist(), strict=True)),
            logits=logits,
            embedding=np.zeros(0, np.float32),  # peers do not give it
            duration=len(waveform) / self._rate,
        )


def closeness(reference: Floats, candidate: Floats) -> dict[str, Any]:
    """How near logits [clips, labels] are to the reference's, without any knowledge of labels.

    `sqnr_db` is None where they agree to the bit, since JSON has no infinity.
    """
    before, after = softmax(reference, axis=1), softmax(candidate, axis=1)
    largest, mean = drift(before, after)
    ratio = sqnr(reference, candidate)
    return {
        "agreement": agreement(reference, candidate),
        "sqnr_db": ratio if math.isfinite(ratio) else None,
        "max_logit_error": float(np.abs(candidate - reference).max()),
        "max_drift": largest,
        "mean_drift": mean,
        "drift_quantiles": np.percentile(
            np.abs(after - before).max(axis=1), DRIFT_QUANTILES
        ).tolist(),
    }


def scores(
    labels: Sequence[str], recordings: Sequence[Recording], logits: Floats, reference: Floats
) -> dict[str, Any]:
    """Scores of logits [clips, labels] on labelled recordings.

    Returns:
        Accuracy, unweighted average recall (UAR) and expected calibration error; 95 % intervals;
        the confusion matrix, a row a true label; the exact McNemar test against the reference;
        where the dataset has folds, accuracy in each.
    """
    truth = np.array([labels.index(recording.label or "") for recording in recordings])
    guess = logits.argmax(axis=1)
    there = sorted(set(truth.tolist()))
    found: dict[str, Any] = {
        "accuracy": float(accuracy_score(truth, guess)),
        "uar": float(recall_score(truth, guess, labels=there, average="macro", zero_division=0)),
        "ece": calibration_error(softmax(logits, axis=1), truth),
        "confusion": confusion_matrix(truth, guess, labels=range(len(labels))).tolist(),
        "intervals": intervals(truth, guess, reference.argmax(axis=1), recordings, len(labels)),
        "mcnemar_p": mcnemar(reference.argmax(axis=1) == truth, guess == truth),
    }
    folds = np.array([each.fold for each in recordings if isinstance(each, Utterance)])
    if len(folds) == len(recordings):
        found["folds"] = {
            str(fold): float(accuracy_score(truth[folds == fold], guess[folds == fold]))
            for fold in np.unique(folds)
        }
    return found


def calibration_error(probabilities: Floats, truth: Indices) -> float:
    """Expected calibration error of probabilities [clips, labels].

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017: mean over equally wide
    bins of the highest probability, weighted by clips, of |accuracy - mean probability|.
    """
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((highest * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, right - highest, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(truth))


def intervals(
    truth: Indices,
    guess: Indices,
    reference: Indices,
    recordings: Sequence[Recording],
    labels: int,
) -> dict[str, Any]:
    """95 % percentile bootstrap intervals; speakers are drawn with all their recordings.

    Recordings of a speaker are alike, so drawing single recordings would make the intervals too
    narrow; where the dataset names no speakers, there is no other way.

    Returns:
        Intervals of accuracy, UAR and agreement with the reference, and what was drawn.
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
    samples = {
        "accuracy": hits.sum(axis=1) / clips,
        "uar": np.nanmean(recalls, axis=1),
        "agreement": weights @ agreeing / clips,
    }
    return {"drawn_by": drawn_by} | {
        name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in samples.items()
    }
