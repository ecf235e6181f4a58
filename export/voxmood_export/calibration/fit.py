"""What a calibration fits: a temperature or scales, thresholds of sets, and how good they are.

Shapes in this module: N recordings, L labels or values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxmood.bundle.calibration import COVERAGE, PERCENTS, Calibration, Domain, mass_above
from voxmood.comparison import metrics

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TEMPERATURES = (0.05, 20.0)
"""What a temperature may be. Where all labels are right, the best one would be 0."""

FOLDS = 10
DIGITS = 6  # of a threshold
DRAWS = 100

NEGLIGIBLE = 0.01
"""The share by which an error may grow without a warning.

Where a model is calibrated already, a fit to a few hundred recordings makes the error of others
larger by less than this. A bootstrap often calls even that more than chance.
"""

NLL, BRIER, ECE = "negative log-likelihood", "Brier score", "expected calibration error"
CHANCE = "calibration error by chance alone"
SETS, SIZES = f"coverage of {COVERAGE:.0%} sets", f"labels in {COVERAGE:.0%} sets"


@dataclass(frozen=True)
class Fit:
    """Hold what was fitted, and how good it is.

    Attributes:
        worse: names of the figures that are worse after than before; empty unless what the fit
            minimizes is worse by more than chance explains.

    The other attributes are those of `voxmood.bundle.calibration.Calibration`.
    """

    measured: dict[str, tuple[float, float]]
    worse: tuple[str, ...]
    temperature: float = 1.0
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()

    def calibration(
        self, manifest: str, recordings: int, speakers: int | None, domain: Domain | None
    ) -> Calibration:
        """Return the calibration of a bundle, whose attributes the arguments are."""
        return Calibration(
            manifest,
            recordings,
            speakers,
            self.measured,
            self.temperature,
            self.scales,
            self.offsets,
            self.thresholds,
            domain,
        )


def folds(groups: npt.NDArray[np.str_]) -> Iterator[Bools]:
    """Yield for up to ten folds which recordings [N] are left out, whole groups at a time."""
    names, sizes = np.unique(groups, return_counts=True)
    ordered = names[np.argsort(-sizes, kind="stable")]  # so that folds are about equally large
    for first in range(min(FOLDS, len(ordered))):
        yield np.isin(groups, ordered[first::FOLDS])


def probabilities_of(logits: Floats, temperature: float, several: bool) -> Floats:
    """Return what a graph makes of logits [N, L]: their softmax, or sigmoid, after division."""
    scaled = logits / temperature
    if several:
        return np.asarray(0.5 * (1 + np.tanh(scaled / 2)))
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def fit_temperature(truth: Bools, logits: Floats, several: bool) -> float:
    """Return the temperature of the least negative log-likelihood (Guo et al., ICML 2017).

    The log-likelihood is concave in 1 / temperature, so its slope has one zero, which bisection
    finds.

    Args:
        truth: which labels are true [N, L].
        logits: the logits [N, L].
        several: whether several labels may be true.
    """
    low, high = TEMPERATURES
    for _ in range(50):
        middle = math.sqrt(low * high)
        slope = ((probabilities_of(logits, middle, several) - truth) * logits).sum()
        if slope > 0:  # the probabilities are too extreme
            low = middle
        else:
            high = middle
    return middle


def fit_thresholds(masses: Floats) -> tuple[float, ...]:
    """Return a threshold for each coverage of `PERCENTS`, by split conformal prediction.

    Args:
        masses: the probability of the labels before the true one, of each recording [N].

    Returns:
        For each coverage the least mass that enough recordings do not exceed, so that a further
        one like them does not exceed it either with at least this probability; 1, which nothing
        exceeds, where there are too few recordings to say so.
    """
    ordered = np.sort(masses)
    found = []
    for percent in PERCENTS:
        rank = math.ceil((len(ordered) + 1) * percent / 100)
        value = ordered[rank - 1] if rank <= len(ordered) else 1.0
        found.append(math.ceil(value * 10**DIGITS) / 10**DIGITS)
    return tuple(found)


def fit_labels(truth: Bools, logits: Floats, groups: npt.NDArray[np.str_], several: bool) -> Fit:
    """Fit a temperature and thresholds, and measure both on groups that were left out.

    Args:
        truth: which labels are true [N, L].
        logits: the logits [N, L].
        groups: the speaker of each recording [N].
        several: whether several labels may be true. There are then no thresholds.
    """
    before = probabilities_of(logits, 1.0, several)
    after = np.empty_like(before)
    for out in folds(groups):
        temperature = fit_temperature(truth[~out], logits[~out], several)
        after[out] = probabilities_of(logits[out], temperature, several)
    pairs = zip(_scores(truth, before, several), _scores(truth, after, several), strict=True)
    measured = dict(zip((NLL, BRIER, ECE, CHANCE), pairs, strict=True))
    losses = [metrics.proper_scores(truth, each, several)[:, :1] for each in (before, after)]
    worse: tuple[str, ...] = ()
    if grows(losses[0], losses[1], groups, np.asarray).all():  # its sum grows as its mean does
        worse = tuple(name for name in (NLL, BRIER, ECE) if measured[name][1] > measured[name][0])
    temperature = fit_temperature(truth, logits, several)
    if several:
        return Fit(measured, worse, temperature)
    # The thresholds are of temperatures that have not seen the recordings' speakers.
    masses = mass_above(after)
    of_truth = masses[truth]
    held, sizes = np.empty(len(truth), bool), np.empty(len(truth))
    for out in folds(groups):
        threshold = fit_thresholds(of_truth[~out])[round(100 * COVERAGE) - PERCENTS[0]]
        held[out] = of_truth[out] <= threshold
        sizes[out] = (masses[out] <= threshold).sum(axis=1)
    naive = mass_above(before) < COVERAGE  # the sets that uncalibrated probabilities suggest
    measured[SETS] = (float(naive[truth].mean()), float(held.mean()))
    measured[SIZES] = (float(naive.sum(axis=1).mean()), float(sizes.mean()))
    return Fit(measured, worse, temperature, thresholds=fit_thresholds(of_truth))


def grows(
    before: Floats,
    after: Floats,
    groups: npt.NDArray[np.str_],
    errors: Callable[[Floats], Floats],
) -> Bools:
    """Return for each error whether it grows by more than chance explains and than is negligible.

    That is where the whole 95 % interval of the growth, by a paired bootstrap, is above what is
    negligible. It must be so for resamples of groups, and also for resamples of recordings: two
    speakers do not tell how much of the growth is the chance in what they say.

    Args:
        before: what is summed over the recordings [N, columns].
        after: the same after the fit.
        groups: the speaker of each recording [N].
        errors: returns the errors [errors] of a sum [columns].
    """
    columns = before.shape[1]

    def growth(sums: Floats) -> Floats:
        return errors(sums[columns:]) - (1 + NEGLIGIBLE) * errors(sums[:columns])

    rows = np.hstack([before, after])
    lowest = [metrics.bootstrap(rows, each, growth)[0] for each in (groups, np.arange(len(rows)))]
    return np.asarray((np.array(lowest) > 0).all(axis=0))


def _scores(
    truth: Bools, probabilities: Floats, several: bool
) -> tuple[float, float, float, float]:
    """Return the figures of `NLL`, `BRIER`, `ECE` and `CHANCE`."""
    likelihood, brier = metrics.proper_scores(truth, probabilities, several).mean(axis=0)
    predicted, confidence = metrics.answers(probabilities, several)
    sums = metrics.class_rows(truth, predicted, confidence).sum(axis=0)
    error = metrics.ClassSums.of(sums).calibration_error
    return float(likelihood), float(brier), error, error_by_chance(confidence.ravel())


def error_by_chance(confidence: Floats) -> float:
    """Return the calibration error that a perfectly calibrated model has by chance alone.

    In a bin of few answers, the share of right ones differs from the confidence also where the
    confidence is the true chance. The mean of 100 draws of what came true is returned.

    Args:
        confidence: the confidence of each answer [answers].
    """
    random = np.random.default_rng(0)
    inside = np.searchsorted(np.linspace(0, 1, metrics.BINS + 1)[1:-1], confidence)
    errors = [
        np.abs(np.bincount(inside, (random.random(len(inside)) < confidence) - confidence)).sum()
        for _ in range(DRAWS)
    ]
    return float(np.mean(errors) / len(inside))


def fit_affine(truth: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the scale and the offset of each value that make its CCC largest, each [L].

    The CCC of a scaled and shifted value is largest where mean and deviation are those of the
    truth, and is the correlation then.

    Args:
        truth: true values [N, L], of which none is constant.
        values: the model's values [N, L], of which none is constant.
    """
    scales = truth.std(axis=0) / values.std(axis=0)
    return scales, truth.mean(axis=0) - scales * values.mean(axis=0)


def fit_values(
    truth: Floats, values: Floats, groups: npt.NDArray[np.str_], names: tuple[str, ...]
) -> Fit:
    """Fit a scale and an offset for each value, and measure them on groups that were left out.

    Args:
        truth: true values [N, L].
        values: the model's values [N, L].
        groups: the speaker of each recording [N].
        names: the names of the values.
    """
    count = len(names)
    after = np.empty_like(values)
    for out in folds(groups):
        scales, offsets = fit_affine(truth[~out], values[~out])
        after[out] = values[out] * scales + offsets
    rows = [metrics.value_rows(truth, each) for each in (values, after)]
    figures = [metrics.value_figures(each.sum(axis=0)).tolist() for each in rows]
    titles = [f"{what} of {name}" for what in ("CCC", "RMSE") for name in names]
    found = grows(rows[0], rows[1], groups, lambda sums: 1 - metrics.value_figures(sums)[:count])
    scales, offsets = fit_affine(truth, values)
    return Fit(
        dict(zip(titles, zip(*figures, strict=True), strict=True)),
        tuple(title for title, each in zip(titles, found, strict=False) if each),  # the CCCs
        scales=tuple(scales.tolist()),
        offsets=tuple(offsets.tolist()),
    )
