"""The classifier: what tells the emotions apart in the means of the network's last states."""

from __future__ import annotations

import numpy as np
from corpora import LABELS
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

SHRINKAGE = 0.1  # how much of the correlations between features is not believed
OTHERS = 0.5  # how much of what differs in unlabeled speech is added to what is noise
EMODB = 0.3  # weight of EmoDB where there is also CREMA-D, which is ten times as long


def weights_of(corpora: NDArray[np.str_], labels: Indices) -> Floats:
    """Return a weight for each clip: all classes of a corpus weigh the same."""
    shares = {"emodb": EMODB, "cremad": 1 - EMODB}
    weights = np.zeros(len(labels))
    for corpus in np.unique(corpora):
        for label in range(len(LABELS)):
            chosen = (corpora == corpus) & (labels == label)
            weights[chosen] = shares[str(corpus)] / max(1, chosen.sum())
    return weights


def discriminant(
    features: Floats, labels: Indices, weights: Floats, speech: Floats
) -> tuple[Floats, Floats]:
    """Return weight [labels, features] and bias [labels] of a linear discriminant.

    Every class is as likely as the others. What differs between two corpora within a class counts
    as noise, so that the classifier learns to look away from it; so does what differs between
    other people, languages and microphones, of whom there are many more than in the two corpora.
    speech: features of unlabeled speech [others, features].
    """
    classes = range(len(LABELS))
    means = np.stack(
        [np.average(features[labels == k], axis=0, weights=weights[labels == k]) for k in classes]
    )
    rest = features - means[labels]
    spread = (rest * weights[:, None]).T @ rest / weights.sum() + OTHERS * np.cov(speech.T)
    deviation = np.sqrt(spread.diagonal())
    correlation = spread / deviation[:, None] / deviation
    correlation = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(correlation))
    weight = np.linalg.solve(correlation, (means / deviation).T).T / deviation
    bias = -0.5 * (weight * means).sum(1)
    return weight - weight.mean(0), bias - bias.mean()  # what all labels share decides nothing


def temperature(logits: Floats, labels: Indices, weights: Floats) -> float:
    """Return what logits are to be divided by for the least cross-entropy.

    logits: of clips that the classifier did not learn from.
    """

    def surprise(divisor: float) -> float:
        scaled = logits / divisor
        scaled = scaled - scaled.max(1, keepdims=True)
        chances = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-(weights * chances[np.arange(len(labels)), labels]).sum())

    candidates = np.geomspace(0.1, 10, 400)
    return float(candidates[np.argmin([surprise(divisor) for divisor in candidates])])
