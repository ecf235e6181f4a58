"""The fit of the domain: where the embeddings of the calibration recordings lie."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

from voxmood.bundle.calibration import Domain
from voxmood_export.calibration.fit import Floats, folds

MAX_DIRECTIONS = 32
MAX_NUMBERS = 8192  # of a projection, which are 16 KiB
RECORDINGS_PER_DIRECTION = 5
RIDGE = 1e-3  # of the mean variance, is added to each variance
LIMIT = 0.99
"""The share of calibration recordings that are within the limit."""


def fit_domain(
    embeddings: Floats, classes: npt.NDArray[np.int_], groups: npt.NDArray[np.str_]
) -> Domain | None:
    """Return where embeddings lie, or None if all recordings of a class have the same one.

    Args:
        embeddings: the embedding of each recording [N, width].
        classes: the number of the label of each recording [N].
        groups: the speaker of each recording [N].
    """
    domain = _fit(embeddings, classes)
    if domain is None:
        return None
    distances = np.empty(len(embeddings))
    for out in folds(groups):
        others = _fit(embeddings[~out], classes[~out])
        if others is None:
            return None
        distances[out] = [others.novelty(each) for each in embeddings[out]]
    limit = float(np.quantile(distances, LIMIT))
    return Domain(domain.width, domain.projection, domain.centers, limit) if limit > 0 else None


def _fit(embeddings: Floats, classes: npt.NDArray[np.int_]) -> Domain | None:
    """Return where embeddings lie, with the limit 1."""
    count, width = embeddings.shape
    labels, places = np.unique(classes, return_inverse=True)
    means = np.stack([embeddings[classes == label].mean(axis=0) for label in labels])
    apart = embeddings - means[places]
    variances, directions = np.linalg.eigh(apart.T @ apart / count)
    if variances[-1] <= 0:
        return None
    kept = max(1, min(MAX_DIRECTIONS, MAX_NUMBERS // width, count // RECORDINGS_PER_DIRECTION))
    spread = np.sqrt(variances + RIDGE * variances.mean())[-kept:]
    rounded = (directions[:, -kept:] / spread).astype("<f2")
    centers = (means @ rounded.astype(np.float64)).astype("<f4")
    return Domain(width, _text(rounded), _text(centers), 1.0)


def _text(numbers: npt.NDArray[np.floating]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
