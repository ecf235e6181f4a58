"""The statistics by which two models are compared."""

from __future__ import annotations

import math

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
