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
RIDGE = 1e-3
"""The share of the mean variance that is added to each variance."""
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
    width = embeddings.shape[1]
    variances, directions = np.linalg.eigh(_covariance(embeddings, classes))
    if variances[-1] <= 0:
        return None
    kept = min(MAX_DIRECTIONS, MAX_NUMBERS // width, len(embeddings) // RECORDINGS_PER_DIRECTION)
    directions = directions[:, -max(1, kept) :]
    ridge = RIDGE * variances.mean()
    reduced = embeddings @ directions
    distances = np.empty(len(embeddings))
    for out in folds(groups):
        whitening = _whitening(reduced[~out], classes[~out], ridge)
        centers = _means(reduced[~out], classes[~out]) @ whitening
        points = reduced[out] @ whitening
        distances[out] = np.linalg.norm(points[:, np.newaxis] - centers, axis=2).min(axis=1)
    limit = float(np.quantile(distances, LIMIT))
    if limit <= 0:
        return None
    projection = (directions @ _whitening(reduced, classes, ridge)).astype("<f2")
    centers = _means(embeddings, classes) @ projection.astype(np.float64)  # as it is rounded
    return Domain(width, _text(projection), _text(centers.astype("<f4")), limit)


def _means(points: Floats, classes: npt.NDArray[np.int_]) -> Floats:
    """Return the mean of each class, [classes, dimensions]."""
    return np.stack([points[classes == label].mean(axis=0) for label in np.unique(classes)])


def _covariance(points: Floats, classes: npt.NDArray[np.int_]) -> Floats:
    """Return the covariance of the deviations from the means of the classes."""
    places = np.unique(classes, return_inverse=True)[1]
    apart = points - _means(points, classes)[places]
    return np.asarray(apart.T @ apart / len(points))


def _whitening(points: Floats, classes: npt.NDArray[np.int_], ridge: float) -> Floats:
    """Return what makes these deviations uncorrelated and equally large."""
    variances, directions = np.linalg.eigh(_covariance(points, classes))
    return np.asarray(directions / np.sqrt(np.maximum(variances, 0) + ridge))


def _text(numbers: npt.NDArray[np.floating]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
