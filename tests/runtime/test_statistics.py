"""The statistics against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    max_error,
    mean_absolute_error,
)

from voxmood.comparison import metrics as statistics


@pytest.mark.parametrize(
    ("successes", "trials"),
    [(0, 1), (1, 1), (0, 20), (20, 20), (476, 477), (3, 7), (99990, 100000)],
)
def test_wilson(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    found = statistics.wilson(successes, trials)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("right", [(0.9, 0.9), (0.9, 0.7), (0.5, 0.52), (1, 1), (0, 1)])
@pytest.mark.parametrize("clips", [1, 12, 3000])
def test_mcnemar(right: tuple[float, float], clips: int) -> None:
    random = np.random.default_rng(clips)
    reference, candidate = (random.random(clips) < share for share in right)
    wins, losses = int((reference & ~candidate).sum()), int((candidate & ~reference).sum())
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert statistics.mcnemar(reference, candidate) == pytest.approx(expected, rel=1e-9)


def test_accuracy_and_uar() -> None:
    random = np.random.default_rng(0)
    labels = np.array(["neu", "hap", "ang", "sad"])
    truth = random.choice(
        labels[:3], 200, p=[0.7, 0.2, 0.1]
    )  # nobody is sad, but some are called so
    predicted = np.where(random.random(200) < 0.6, truth, random.choice(labels, 200))
    assert statistics.accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(truth, predicted)
    assert statistics.uar(truth, predicted) == pytest.approx(expected)


def test_sqnr_sees_noise_of_a_known_size() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (4000, 4)) + random.normal(0, 9, (4000, 1))
    noisy = logits + random.normal(0, 0.1, logits.shape) + random.normal(0, 5, (4000, 1))
    assert statistics.sqnr(logits, noisy) == pytest.approx(20, abs=0.2)
    assert statistics.sqnr(logits, logits) == np.inf


def test_drift() -> None:
    before, after = softmax(np.random.default_rng(0).normal(size=(2, 9, 4)), axis=-1)
    largest, mean = statistics.drift(before, after)
    assert largest == pytest.approx(max_error(before.ravel(), after.ravel()))
    assert mean == pytest.approx(mean_absolute_error(before, after))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_agrees_with_nothing(value: float) -> None:
    good, broken = [[1.0, 0.0], [0.0, 1.0]], [[value, 0.0], [0.0, 1.0]]
    assert statistics.agreement(good, good) == 1
    assert statistics.agreement(good, broken) == statistics.agreement(broken, broken) == 0.5
