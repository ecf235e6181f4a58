"""The few statistics by which two models are compared."""

from __future__ import annotations

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


def agreement(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> float:
    """Share of clips on which two sets of logits [clips, labels] give the same label."""
    return float((np.argmax(reference, axis=-1) == np.argmax(candidate, axis=-1)).mean())
