"""The few statistics by which two models are compared."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def sqnr(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float:
    """Signal-to-quantisation-noise ratio of centred logits, in dB.

    Logits are centred over the labels of each clip first, because softmax does not see what they
    have in common.

    Args:
        reference: logits [clips, labels].
        candidate: logits of the same clips.

    Returns:
        10 log10(signal power / noise power); infinity where they agree to the bit.
    """
    signal = centred(reference)
    noise = centred(candidate) - signal
    power = float((noise**2).sum())
    return float("inf") if power == 0 else 10 * float(np.log10((signal**2).sum() / power))


def centred(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Logits [clips, labels] less their mean over the labels of each clip."""
    values = np.asarray(logits, np.float64)
    mean: npt.NDArray[np.float64] = values.mean(axis=-1, keepdims=True)
    return values - mean


def same_label(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """For each clip, whether two sets of logits [clips, labels] give the same label.

    Logits that are not finite agree with nothing.
    """
    finite = np.isfinite(reference).all(axis=-1) & np.isfinite(candidate).all(axis=-1)
    same: npt.NDArray[np.bool_] = np.argmax(reference, axis=-1) == np.argmax(candidate, axis=-1)
    return same & finite


def agreement(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float:
    """Share of clips on which two sets of logits [clips, labels] give the same label."""
    return float(same_label(reference, candidate).mean())


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a share, after Wilson (JASA 22, 1927).

    Unlike the normal approximation it stays sensible for few trials and for shares near 1.

    Args:
        successes: how often it happened.
        trials: how often it could have, at least 1.

    Returns:
        Its lower and upper end.
    """
    z = 1.959963984540054  # 97.5 % of a normal distribution lies below it
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def drift(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> tuple[float, float]:
    """Largest and mean |Δprobability| of two sets of probabilities [clips, labels]."""
    change = np.abs(np.subtract(candidate, reference, dtype=np.float64))
    return float(change.max()), float(change.mean())


def accuracy(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of clips whose predicted label is the true one."""
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))


def uar(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Unweighted average recall: the mean over the labels that occur of how many were found."""
    classes = np.asarray(truth)
    hits = classes == np.asarray(predicted)
    return float(np.mean([hits[classes == label].mean() for label in np.unique(classes)]))


def mcnemar(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float:
    """Exact two-sided McNemar test (Psychometrika 12, 1947) of who is right more often.

    Args:
        reference: for each clip, whether the reference is right, bool [clips].
        candidate: the same of the candidate.

    Returns:
        How probable a difference as large as this is between equally good models: the binomial
        test of the clips on which one of them alone is right.
    """
    right, other = np.asarray(reference, bool), np.asarray(candidate, bool)
    only = sorted((int((right & ~other).sum()), int((other & ~right).sum())))
    count = sum(only)
    tail = sum(math.comb(count, wins) for wins in range(only[0] + 1))
    return float(min(1, 2 * tail / 2**count))
