"""Scores against scikit-learn and plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from voxmood.audio.listing import Recording
from voxmood_bench.engines.process import Runs
from voxmood_bench.measure.accuracy import (
    baseline_logits,
    calibration_error,
    closeness,
    intervals,
    scores,
    values_closeness,
)
from voxmood_bench.measure.datasets import Utterance
from voxmood_bench.report.schema import Answered
from voxmood_export.clips import speech_like

LABELS = ("neu", "hap", "ang", "sad")


@pytest.fixture
def case() -> tuple[list[Recording], Any, Any, Any]:
    """Speakers of unlike skill: recordings, truth, logits of a candidate and of a reference."""
    random = np.random.default_rng(1)
    truth = random.integers(4, size=120)
    speakers = np.arange(120) % 6
    reference = random.normal(0, 1, (120, 4))
    reference[np.arange(120), truth] += np.linspace(0.2, 3, 6)[speakers]
    candidate = reference + random.normal(0, 0.3, (120, 4))
    recordings = [
        Recording(f"{index}.wav", Path(f"{index}.wav"), LABELS[label], f"s{speaker}")
        for index, (label, speaker) in enumerate(zip(truth, speakers, strict=True))
    ]
    return recordings, truth, candidate, reference


def test_scores_are_scikit_learns(case: tuple[list[Recording], Any, Any, Any]) -> None:
    recordings, truth, candidate, reference = case
    found = scores("engine", LABELS, recordings, candidate, reference)
    guess = candidate.argmax(axis=1)
    assert found.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert found.uar == pytest.approx(balanced_accuracy_score(truth, guess))
    assert found.confusion == confusion_matrix(truth, guess).tolist()
    assert 0 < found.mcnemar_p <= 1
    assert found.folds is None


def test_a_temperature_changes_nothing_but_confidence(
    case: tuple[list[Recording], Any, Any, Any],
) -> None:
    recordings, truth, candidate, reference = case
    plain, divided = (
        scores("engine", LABELS, recordings, candidate, reference, each) for each in (1.0, 2.0)
    )
    own = ("ece", "bins", "risk")
    rest = [{k: v for k, v in vars(each).items() if k not in own} for each in (plain, divided)]
    assert rest[0] == rest[1]
    expected = softmax(candidate / 2, axis=1)
    assert divided.ece == calibration_error(expected, truth)
    assert sum(each.answers for each in divided.bins or ()) == len(truth)
    assert (divided.risk or [])[-1] == Answered(1.0, divided.accuracy)


def test_a_label_that_nobody_says_does_not_count_in_the_recall() -> None:
    recordings = [Recording("a", Path("a"), "neu", "1"), Recording("b", Path("b"), "ang", "2")]
    logits = np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    found = scores("engine", LABELS, recordings, logits, logits)
    assert found.uar == 0.5
    assert np.array(found.confusion).shape == (4, 4)


def test_folds_are_scored_apart() -> None:
    recordings = [
        Utterance(str(index), Path(str(index)), "neu", "s", fold=str(1 + index % 2))
        for index in range(4)
    ]
    logits = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]] * 2)
    assert scores("engine", LABELS, recordings, logits, logits).folds == {"1": 1.0, "2": 0.0}


def test_intervals_by_speaker_are_those_of_a_plain_loop(
    case: tuple[list[Recording], Any, Any, Any],
) -> None:
    recordings, truth, candidate, reference = case
    guess = candidate.argmax(axis=1)
    found = intervals(truth, guess, reference.argmax(axis=1), recordings, 4)
    assert found.drawn_by == "speaker"
    speakers = np.array([one.speaker for one in recordings])
    names = np.unique(speakers)
    random = np.random.default_rng(5)
    drawn = []
    for _ in range(1500):
        chosen = np.concatenate(
            [np.flatnonzero(speakers == name) for name in random.choice(names, len(names))]
        )
        drawn.append(
            (
                accuracy_score(truth[chosen], guess[chosen]),
                balanced_accuracy_score(truth[chosen], guess[chosen]),
            )
        )
    expected = np.percentile(drawn, [2.5, 97.5], axis=0)
    assert found.accuracy == pytest.approx(expected[:, 0], abs=0.02)
    assert found.uar == pytest.approx(expected[:, 1], abs=0.02)
    # Speakers differ, so drawing recordings alone makes it look surer than it is.
    single = [Recording(one.name, one.path, one.label) for one in recordings]
    narrow = intervals(truth, guess, reference.argmax(axis=1), single, 4)
    assert narrow.drawn_by == "recording"
    assert np.ptp(narrow.accuracy) < np.ptp(found.accuracy)


def test_calibration_error_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), 200)
    truth = random.integers(4, size=200)
    expected = 0.0
    for index in range(15):
        rows = [
            row for row in range(200) if index / 15 <= probabilities[row].max() < (index + 1) / 15
        ]
        if rows:
            right = np.mean([probabilities[row].argmax() == truth[row] for row in rows])
            sure = np.mean([probabilities[row].max() for row in rows])
            expected += len(rows) / 200 * abs(right - sure)
    assert calibration_error(probabilities, truth) == pytest.approx(expected)
    certain = np.eye(4)[truth]
    assert calibration_error(certain, truth) == 0
    assert calibration_error(certain, (truth + 1) % 4) == 1


def test_closeness() -> None:
    reference = np.array([[2.0, 0.0], [0.0, 0.1]])
    found = closeness("engine", reference, np.array([[2.0, 0.0], [0.1, 0.0]]))
    assert found.agreement == 0.5
    assert found.max_logit_error == pytest.approx(0.1)
    assert found.max_drift == pytest.approx(1 / (1 + np.exp(-0.1)) - 1 / (1 + np.exp(0.1)))
    assert found.drift_quantiles[0] == 0
    assert found.drift_quantiles[-1] == pytest.approx(found.max_drift)


def test_closeness_of_a_multilabel_model() -> None:
    """Each label counts by itself: by the sigmoid, and by the set of those above one half."""
    reference = np.array([[2.0, 1.0], [-1.0, 3.0], [1.0, -2.0]])
    candidate = np.array([[1.0, 1.0], [-1.0, -0.5], [1.0, -2.0]])
    found = closeness("engine", reference, candidate, "multilabel")
    assert found.agreement == pytest.approx(2 / 3)
    assert found.max_drift == pytest.approx(1 / (1 + np.exp(-3)) - 1 / (1 + np.exp(0.5)))
    noise, signal = 1 + 3.5**2, (reference**2).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10(signal / noise))


def test_closeness_of_values_is_by_name() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(0.5, 0.2, (30, 2))
    candidate = reference + np.array([0.1, 0.0])
    found = values_closeness("engine", ["arousal", "valence"], reference, candidate)
    moved, same = found.values["arousal"], found.values["valence"]
    assert same.ccc == pytest.approx(1)
    assert same.max_error == 0
    assert moved.max_error == pytest.approx(0.1)
    assert moved.mean_error == pytest.approx(0.1)
    variance = reference[:, 0].var()
    assert moved.ccc == pytest.approx(2 * variance / (2 * variance + 0.01))
    assert found.lowest_ccc == moved.ccc
    assert values_closeness("engine", "ab", reference, reference).sqnr_db is None


def test_a_baseline_gets_the_recording_at_its_rate(tmp_path: Path) -> None:
    import soundfile

    class Worker:
        def run(self, audio: Path, least_seconds: float = 0.0, most_runs: int = 1) -> Runs:
            assert len(np.load(audio)) == 16000
            return Runs([0.1], [0.0, 0.0, 2.0, 1.0], 0.0)

    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(1.0, 8000, 0), 8000)
    found = baseline_logits(Worker(), path, tmp_path / "clip.npy", 16000)
    assert found.tolist() == [0.0, 0.0, 2.0, 1.0]
