"""What a calibration fits, against scipy, scikit-learn and direct computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.distance import mahalanobis
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from voxmood.bundle.calibration import COVERAGE, PERCENTS, Calibration, mass_above
from voxmood.comparison.metrics import ccc
from voxmood_export.calibration import domain as domain_module
from voxmood_export.calibration.domain import fit_domain
from voxmood_export.calibration.fit import (
    BRIER,
    CHANCE,
    ECE,
    NEGLIGIBLE,
    NLL,
    SETS,
    TEMPERATURES,
    fit_affine,
    fit_labels,
    fit_temperature,
    fit_thresholds,
    fit_values,
    folds,
    grows,
    probabilities_of,
)

Case = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]


def drawn(count: int, temperature: float, seed: int = 0, labels: int = 4) -> Case:
    """Return truth and logits of a model whose probabilities are right at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, labels))
    chances = softmax(logits / temperature, axis=1)
    truth = [random.choice(labels, p=row) for row in chances]
    return np.eye(labels, dtype=bool)[truth], logits


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    truth, logits = drawn(20_000, temperature)
    found = fit_temperature(truth, logits, several=False)
    assert found == pytest.approx(temperature, rel=0.05)
    best = minimize_scalar(
        lambda t: log_loss(truth.argmax(axis=1), softmax(logits / t, axis=1)),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert found == pytest.approx(best.x, abs=1e-3)


def test_the_temperature_of_several_labels() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4000, 3))
    truth = random.random((4000, 3)) < expit(logits / 2)
    best = minimize_scalar(
        lambda t: log_loss(truth.ravel(), expit(logits / t).ravel()),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert fit_temperature(truth, logits, several=True) == pytest.approx(best.x, abs=1e-3)
    extreme = np.array([[1000.0, -1000.0, 0.0]])
    assert probabilities_of(extreme, 1.0, several=True).tolist() == [[1.0, 0.0, 0.5]]


@pytest.mark.parametrize("right", [True, False])
def test_a_temperature_has_bounds(right: bool) -> None:
    """A model that is always right would get the temperature 0, one that is wrong infinity."""
    truth, logits = np.eye(2, dtype=bool), np.eye(2) if right else 1 - np.eye(2)
    found = fit_temperature(truth, logits, several=False)
    assert found == pytest.approx(TEMPERATURES[0 if right else 1])


def test_folds_leave_out_whole_speakers() -> None:
    random = np.random.default_rng(0)
    groups = np.array([f"s{each}" for each in random.integers(23, size=400)])
    left_out = list(folds(groups))
    assert len(left_out) == 10
    assert np.sum(left_out, axis=0).tolist() == [1] * 400
    for out in left_out:
        assert not set(groups[out]) & set(groups[~out])
    expected = [len(test) for _, test in GroupKFold(10).split(groups, groups=groups)]
    assert max(map(np.sum, left_out)) <= 1.3 * max(expected)


@pytest.mark.parametrize("percent", [50, 80, 90, 95])
@pytest.mark.parametrize("labels", [3, 9])
def test_sets_hold_the_true_label_as_often_as_promised(percent: int, labels: int) -> None:
    """Also where the probabilities are wrong: the promise needs like recordings and no more."""
    coverages, right = [], []
    for seed in range(40):
        truth, logits = drawn(600, 3.0, seed, labels)
        masses = mass_above(softmax(logits, axis=1))[truth]
        threshold = fit_thresholds(masses[:300])[percent - PERCENTS[0]]
        coverages.append((masses[300:] <= threshold).mean())
        right.append((masses[300:] == 0).mean())
    mean, error = np.mean(coverages), np.std(coverages) / np.sqrt(40)
    # No set is empty, so that none holds the true label less often than the model is right.
    most = max(percent / 100, float(np.mean(right)))
    assert percent / 100 - 3 * error <= mean <= most + 1 / 301 + 3 * error


def test_a_threshold_that_few_recordings_do_not_allow_takes_all_labels() -> None:
    thresholds = fit_thresholds(np.linspace(0, 0.5, 30))
    assert thresholds[-1] == 1.0  # 99 % of 30 recordings
    assert list(thresholds) == sorted(thresholds)
    calibration = Calibration("list.csv", 30, None, {}, thresholds=thresholds)
    chances = {"a": 0.7, "b": 0.3, "c": 0.0}
    assert calibration.candidates(chances, 0.99) == ("a", "b", "c")


def test_figures_are_of_speakers_that_were_left_out() -> None:
    """One speaker's logits are twice the others': the temperature must not be of this speaker."""
    truth, logits = drawn(900, 1.0)
    groups = np.array(["a", "b", "c"] * 300)
    logits[groups == "a"] *= 2
    found = fit_labels(truth, logits, groups, several=False)
    after = np.empty_like(logits)
    for name in "abc":
        out = groups == name
        temperature = fit_temperature(truth[~out], logits[~out], several=False)
        after[out] = softmax(logits[out] / temperature, axis=1)
    expected = [log_loss(truth.argmax(axis=1), each) for each in (softmax(logits, axis=1), after)]
    assert found.measured[NLL] == pytest.approx(expected)


def test_calibration_helps_a_model_that_is_too_sure() -> None:
    truth, logits = drawn(4000, 3.0)
    groups = np.array([f"s{index % 20}" for index in range(4000)])
    found = fit_labels(truth, logits, groups, several=False)
    before, after = found.measured[ECE]
    assert after < 0.03 < before / 2
    assert found.measured[CHANCE][1] == pytest.approx(after, abs=0.01)
    assert abs(found.measured[SETS][1] - COVERAGE) < 0.02
    assert found.measured[SETS][0] < 0.85


@pytest.mark.parametrize(
    ("speakers", "recordings", "temperatures", "worse"),
    [
        (2, 30, (0.3, 3.0), True),
        (2, 400, (0.5, 2.0), True),
        (10, 30, (1.0,), False),  # calibrated already: the errors grow by a thousandth
        (10, 30, (3.0,), False),
        (20, 30, (0.5, 2.0), False),
    ],
)
def test_figures_that_a_fit_makes_worse(
    speakers: int, recordings: int, temperatures: tuple[float, ...], worse: bool
) -> None:
    """Give each of two speakers of unlike temperatures that of the other one."""
    cases = [
        drawn(recordings, temperatures[each % len(temperatures)], seed=each)
        for each in range(speakers)
    ]
    truth, logits = (np.concatenate(each) for each in zip(*cases, strict=True))
    groups = np.repeat([f"s{each}" for each in range(speakers)], recordings)
    found = fit_labels(truth, logits, groups, several=False)
    before, after = found.measured[NLL]
    assert (NLL in found.worse) == worse
    if worse:
        grown = {name for name in (NLL, BRIER, ECE) if np.diff(found.measured[name]) > 0}
        assert set(found.worse) == grown
        assert after > 1.05 * before
    else:
        assert found.worse == ()


def test_values_that_a_fit_makes_worse() -> None:
    """Give one of two speakers more arousal than the model says, and the other one less."""
    truth = np.random.default_rng(3).normal(0, 1, (200, 2))
    groups = np.repeat(["a", "b"], 100)
    values = truth.copy()
    values[:, 0] += np.where(groups == "a", 0.5, -0.5)
    values[:, 1] = 0.2 * truth[:, 1] + 3
    found = fit_values(truth, values, groups, ("arousal", "valence"))
    assert found.worse == ("CCC of arousal",)
    assert found.measured["CCC of arousal"][1] < found.measured["CCC of arousal"][0]
    assert found.measured["CCC of valence"][1] > found.measured["CCC of valence"][0]


@pytest.mark.parametrize("growth", [-0.2, 0.0, 0.05, 0.2])
@pytest.mark.parametrize("speakers", [2, 12])
def test_growth_against_resamples_written_out(speakers: int, growth: float) -> None:
    """Every resample is a list of recordings, whose mean errors are compared."""
    random = np.random.default_rng(7)
    count = 30 * speakers
    groups = np.array([f"s{index % speakers}" for index in range(count)])
    before = random.gamma(2.0, 0.5, (count, 1))
    change = random.normal(growth, 0.15, speakers)[np.arange(count) % speakers]
    after = before + (change + random.normal(0, 0.3, count))[:, np.newaxis]
    units = [
        [np.flatnonzero(groups == name) for name in np.unique(groups)],
        list(np.arange(count)[:, np.newaxis]),
    ]
    lowest = []
    for each in units:
        grown = []
        for _ in range(1000):
            drawn_units = random.integers(len(each), size=len(each))
            chosen = np.concatenate([each[unit] for unit in drawn_units])
            grown.append(after[chosen].mean() - (1 + NEGLIGIBLE) * before[chosen].mean())
        lowest.append(np.quantile(grown, 0.025))
    assert abs(min(lowest)) > 0.005  # so that another draw would not decide otherwise
    assert grows(before, after, groups, np.asarray).tolist() == [min(lowest) > 0]


@pytest.mark.parametrize("count", [1, 3])
def test_an_affine_map_makes_the_ccc_largest(count: int) -> None:
    random = np.random.default_rng(2)
    truth = random.normal(0.4, 0.2, (300, count))
    values = 0.3 * truth + 0.6 + random.normal(0, 0.05, (300, count))
    scales, offsets = fit_affine(truth, values)
    for place in range(count):
        best = minimize(
            lambda pair, k=place: -(ccc(truth[:, k], pair[0] * values[:, k] + pair[1]) or 0),
            x0=[1.0, 0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000},
        )
        assert [scales[place], offsets[place]] == pytest.approx(best.x, abs=1e-3)
    names = tuple(f"v{place}" for place in range(count))
    groups = np.array([f"s{index % 6}" for index in range(300)])
    found = fit_values(truth, values, groups, names)
    before, after = found.measured["CCC of v0"]
    assert before == pytest.approx(ccc(truth[:, 0], values[:, 0]))
    assert after > before
    assert (found.scales, found.offsets) == (tuple(scales), tuple(offsets))


def embeddings(count: int, width: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return embeddings of two labels and twenty speakers."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(width, width))
    classes = random.integers(2, size=count)
    found = random.normal(size=(count, width)) @ mixing + 5 * classes[:, np.newaxis]
    return found, classes, np.array([f"s{index % 20}" for index in range(count)])


def test_novelty_is_the_distance_of_mahalanobis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_module, "RIDGE", 0.0)
    points, classes, groups = embeddings(2000, 8)
    domain = fit_domain(points, classes, groups)
    assert domain is not None
    means = [points[classes == label].mean(axis=0) for label in (0, 1)]
    apart = points - np.array(means)[classes]
    inverse = np.linalg.inv(apart.T @ apart / len(points))
    for point in embeddings(20, 8, seed=1)[0] * 3:
        expected = min(mahalanobis(point, mean, inverse) for mean in means)
        assert domain.novelty(point) * domain.limit == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(("width", "kilobytes"), [(24, 4), (256, 24), (1024, 24)])
def test_one_in_a_hundred_is_beyond_the_limit(width: int, kilobytes: int) -> None:
    points, classes, groups = embeddings(1500, width)
    domain = fit_domain(points, classes, groups)
    assert domain is not None
    assert len(domain.projection) + len(domain.centers) < 1000 * kilobytes
    others, _, _ = embeddings(1500, width, seed=1)
    assert np.mean([domain.novelty(point) > 1 for point in others]) == pytest.approx(0.01, abs=0.01)
    far = np.random.default_rng(2).normal(size=(50, width)) * np.abs(points).max() * 2
    assert np.mean([domain.novelty(point) > 1 for point in far]) > 0.9


def test_equal_embeddings_have_no_domain() -> None:
    assert fit_domain(np.ones((40, 8)), np.zeros(40, int), np.array(["a", "b"] * 20)) is None
