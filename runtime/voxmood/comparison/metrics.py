"""The statistics by which two models are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def sqnr(reference: npt.ArrayLike, candidate: npt.ArrayLike, task: str = "classification") -> float:
    """Return the signal-to-quantization-noise ratio of logits or values in dB.

    What carries no information is not part of the signal:

    - of a classification, what is common to the logits of a clip, which softmax ignores. It is not
      part of the noise either;
    - of a regression, the mean of each value over the clips.

    Args:
        reference: logits or values [clips, labels].
        candidate: those of the same clips.
        task: what the model does, one of `voxmood.bundle.description.OUTPUTS`.

    Returns:
        10 log10(signal power / noise power); infinity if both agree to the bit.
    """
    signal, other = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if task == "classification":
        signal, other = centered(signal), centered(other)
    power = float(((other - signal) ** 2).sum())
    if task == "regression":
        signal = signal - signal.mean(axis=0)
    if power == 0:
        return float("inf")
    with np.errstate(divide="ignore"):  # a single clip has no signal about its mean
        return 10 * float(np.log10((signal**2).sum() / power))


def ccc(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float | None:
    """Return the concordance correlation coefficient of Lin (Biometrics 45, 1989).

    It is the correlation, lowered by what the means and the deviations differ.

    Args:
        reference: numbers [clips].
        candidate: numbers of the same clips.

    Returns:
        1 where all are equal; None where it is not defined: of fewer than two clips.
    """
    one, other = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if len(one) < 2:
        return None
    apart = one.var() + other.var() + (one.mean() - other.mean()) ** 2
    together = 2 * ((one - one.mean()) * (other - other.mean())).mean()
    return float(together / apart) if apart > 0 else 1.0


def centered(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return logits [clips, labels] minus their mean over the labels of each clip."""
    values = np.asarray(logits, np.float64)
    mean: npt.NDArray[np.float64] = values.mean(axis=-1, keepdims=True)
    return values - mean


def same_label(
    reference: npt.ArrayLike, candidate: npt.ArrayLike, task: str = "classification"
) -> npt.NDArray[np.bool_]:
    """Return for each clip whether two sets of logits [clips, labels] give the same label.

    Of a multilabel model all labels must be the same: those with a probability above one half.
    Logits that are not finite never count as the same label.
    """
    one, other = np.asarray(reference), np.asarray(candidate)
    finite = np.isfinite(one).all(axis=-1) & np.isfinite(other).all(axis=-1)
    if task == "multilabel":
        same = ((one > 0) == (other > 0)).all(axis=-1)
    else:
        same = np.argmax(one, axis=-1) == np.argmax(other, axis=-1)
    return np.asarray(same & finite)


def agreement(
    reference: npt.ArrayLike, candidate: npt.ArrayLike, task: str = "classification"
) -> float:
    """Return the share of clips on which two sets of logits [clips, labels] give one label."""
    return float(same_label(reference, candidate, task).mean())


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share, after Wilson (JASA 22, 1927).

    Unlike the normal approximation it stays sensible for few trials and for shares near 1.

    Args:
        successes: number of trials with the event.
        trials: number of all trials, at least 1.

    Returns:
        The lower and the upper end of the interval.
    """
    z = 1.959963984540054  # 97.5 % of a normal distribution lies below it
    share = successes / trials
    center = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def drift(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> tuple[float, float]:
    """Return the largest and the mean |Δ| of two sets of numbers [clips, labels]."""
    change = np.abs(np.subtract(candidate, reference, dtype=np.float64))
    return float(change.max()), float(change.mean())


def accuracy(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the share of clips whose predicted label is the true one."""
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))


def uar(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the unweighted average recall: the mean recall of the labels that occur."""
    classes = np.asarray(truth)
    hits = classes == np.asarray(predicted)
    return float(np.mean([hits[classes == label].mean() for label in np.unique(classes)]))


def mcnemar(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float:
    """Return the p-value of an exact two-sided McNemar test (Psychometrika 12, 1947).

    The test asks whether one of two models is right more often than the other. It is a binomial
    test on the clips on which exactly one of them is right.

    Args:
        reference: bool [clips], whether the reference is right on each clip.
        candidate: bool [clips], whether the candidate is right on each clip.

    Returns:
        The probability that two equally good models differ at least as much as these two.
    """
    right, other = np.asarray(reference, bool), np.asarray(candidate, bool)
    only = sorted((int((right & ~other).sum()), int((other & ~right).sum())))
    count = sum(only)
    tail = sum(math.comb(count, wins) for wins in range(only[0] + 1))
    return float(min(1, 2 * tail / 2**count))


BINS = 15
"""Bins of equal width in which confidences are compared with what came true."""

RESAMPLES = 1000
LEAST_CHANCE = 1e-12
"""The least probability whose logarithm is taken; float32 rounds smaller ones to 0."""


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Sums over clips, from which every figure about labels follows.

    Attributes:
        clips: the number of clips.
        exact: the number of clips with all labels right.
        true: how often each label is true [labels].
        called: how often each label is predicted [labels].
        hits: how often each label is predicted and true [labels].
        bins: the number of answers, the sum of their confidences, and the number of right ones
            among them, in each bin of confidence [3, BINS].
    """

    clips: float
    exact: float
    true: npt.NDArray[np.float64]
    called: npt.NDArray[np.float64]
    hits: npt.NDArray[np.float64]
    bins: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sums: npt.NDArray[np.float64]) -> ClassSums:
        """Return the sums of rows of `class_rows`, [columns], by their names."""
        labels = (len(sums) - 2 - 3 * BINS) // 3
        true, called, hits = sums[2 : 2 + 3 * labels].reshape(3, labels)
        bins = sums[2 + 3 * labels :].reshape(3, BINS)
        return cls(sums[0], sums[1], true, called, hits, bins)

    @property
    def accuracy(self) -> float:
        """The share of clips with all labels right."""
        return float(self.exact / self.clips)

    @property
    def recalls(self) -> npt.NDArray[np.float64]:
        """The recall of each label [labels]; NaN where it is never true."""
        return _ratio(self.hits, self.true)

    @property
    def precisions(self) -> npt.NDArray[np.float64]:
        """The precision of each label [labels]; NaN where it is never predicted."""
        return _ratio(self.hits, self.called)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """F1 of each label [labels]; NaN where it is neither true nor predicted."""
        return _ratio(2 * self.hits, self.true + self.called)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al., ICML 2017).

        It is |confidence - share of right answers| in each bin, weighted by the answers in it.
        """
        count, confidence, right = self.bins
        return float(np.abs(confidence - right).sum() / count.sum())

    def figures(self) -> npt.NDArray[np.float64]:
        """Return accuracy, UAR, mean F1, calibration error, and F1 of each label."""
        means = [_mean(each) for each in (self.recalls, self.f1)]
        return np.array([self.accuracy, *means, self.calibration_error, *self.f1])


def answers(
    probabilities: npt.NDArray[np.float64], several: bool
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return what is answered for each clip, and with which confidence.

    Args:
        probabilities: the probability of each label [clips, labels].
        several: whether several labels may be true, each with a probability of its own.

    Returns:
        Which labels are predicted [clips, labels], and the confidence of each answer
        [clips, answers]: that of the predicted label, or if several may be true, of each label.
    """
    if several:
        return probabilities > 0.5, np.maximum(probabilities, 1 - probabilities)
    predicted = np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)]
    return predicted, probabilities.max(axis=1, keepdims=True)


def class_rows(
    truth: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return a row for each clip, the sum of which `ClassSums` reads.

    Args:
        truth: which labels are true [clips, labels].
        predicted: which labels are predicted [clips, labels].
        confidence: the confidence of each answer [clips, answers], as `answers` returns it.

    Returns:
        [clips, 2 + 3 labels + 3 BINS].
    """
    right = truth == predicted
    if confidence.shape != truth.shape:  # one answer for a clip
        right = right.all(axis=1, keepdims=True)
    inside = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    bins = (inside[..., np.newaxis] == np.arange(BINS)).astype(np.float64)
    parts = [
        np.ones(len(truth)),
        (truth == predicted).all(axis=1),
        truth,
        predicted,
        truth & predicted,
        bins.sum(axis=1),
        (bins * confidence[..., np.newaxis]).sum(axis=1),
        (bins * right[..., np.newaxis]).sum(axis=1),
    ]
    return np.column_stack(parts).astype(np.float64)


def proper_scores(
    truth: npt.NDArray[np.bool_], probabilities: npt.ArrayLike, several: bool
) -> npt.NDArray[np.float64]:
    """Return the negative log-likelihood and the Brier score of each clip, [clips, 2].

    Both are least where the probabilities are the true ones. The Brier score is the squared error,
    summed over the labels. Of a multilabel model both are means over the labels.

    Args:
        truth: which labels are true [clips, labels].
        probabilities: the probability of each label [clips, labels].
        several: whether several labels may be true, each with a probability of its own.
    """
    chances = np.asarray(probabilities, np.float64)
    squares = (chances - truth) ** 2
    of_truth = np.log(np.clip(np.where(truth, chances, 1 - chances), LEAST_CHANCE, None))
    if several:
        return np.column_stack([-of_truth.mean(axis=1), squares.mean(axis=1)])
    return np.column_stack([-(of_truth * truth).sum(axis=1), squares.sum(axis=1)])


def accuracy_by_share(
    confidence: npt.ArrayLike, right: npt.ArrayLike, shares: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return how many of the most confident answers are right, the risk-coverage curve.

    Args:
        confidence: the confidence of each answer [answers].
        right: whether each answer is right [answers].
        shares: the shares of answers that are given, the most confident ones, above 0 up to 1.

    Returns:
        The share of right ones among them [shares]. At least one answer is always given.
    """
    order = np.argsort(-np.asarray(confidence, np.float64), kind="stable")
    hits = np.cumsum(np.asarray(right, np.float64)[order])
    counts = np.maximum(1, np.round(np.asarray(shares) * len(order)).astype(int))
    return np.asarray(hits[counts - 1] / counts)


def value_rows(truth: npt.ArrayLike, found: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return a row for each clip, the sum of which `value_figures` reads.

    Args:
        truth: true values [clips, names].
        found: the model's values [clips, names].
    """
    x, y = np.asarray(truth, np.float64), np.asarray(found, np.float64)
    middle = x.mean(axis=0)  # without it, sums of squares would lose digits
    x, y = x - middle, y - middle
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1).reshape(len(x), -1)


def value_figures(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the CCC (see `ccc`) of each value, and its root mean square error, [2 names]."""
    count, *others = sums.reshape(6, -1)
    x, y, xx, yy, xy = (each / count for each in others)
    squares = np.maximum(xx - 2 * xy + yy, 0)
    together = 2 * (xy - x * y)
    apart = squares + together  # var x + var y + (mean x - mean y)^2
    with np.errstate(invalid="ignore", divide="ignore"):
        concordance = np.where(apart > 0, together / apart, 1.0)
    return np.concatenate([np.where(count < 2, np.nan, concordance), np.sqrt(squares)])


def bootstrap(
    rows: npt.NDArray[np.float64],
    groups: npt.ArrayLike,
    figures: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    """Return 95 % intervals of figures, by the percentiles of 1000 resamples of whole groups.

    What one speaker says is alike, so resampling clip by clip would give too narrow intervals.

    Args:
        rows: what is summed over the clips [clips, columns].
        groups: the group, such as the speaker, of each clip [clips].
        figures: returns figures [figures] of a sum of rows [columns].

    Returns:
        The lower and the upper ends [2, figures]; NaN where there are fewer than two groups.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, index, rows)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        counts = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
        drawn.append(figures(counts @ sums))
    found = np.array(drawn)
    ends = np.full((2, found.shape[1]), np.nan)
    if len(names) < 2:
        return ends
    for column, values in enumerate(found.T):  # a label may be missing in some resamples
        defined = values[~np.isnan(values)]
        if len(defined):
            ends[:, column] = np.quantile(defined, (0.025, 0.975))
    return ends


def _ratio(
    part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan
