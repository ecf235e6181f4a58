"""The calibration of a bundle, and what an answer gets from it: sets of labels, and how far off.

`voxmood calibrate` fits it on labeled recordings, which are called the calibration recordings here.
The temperature, and the scales and offsets of a regression, are in the graph. `bundle.json` holds
the rest.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voxmood.errors import BundleError, CalibrationError

COVERAGE = 0.9
"""The coverage of the sets that decide whether an answer is unsure."""

PERCENTS = range(1, 100)
"""The coverages, in percent, that a bundle has a threshold for."""

MAX_TEMPERATURE = 1000.0
MAX_WIDTH = 1 << 16  # of an embedding


@dataclass(frozen=True)
class Domain:
    """Where the embeddings of the calibration recordings lie.

    A projection makes the deviations from the mean of a recording's label uncorrelated and equally
    large, so that the distance to the nearest of these means is Mahalanobis' with the covariance
    that all labels share (Lee et al., NeurIPS 2018). It keeps the directions in which embeddings
    vary most.

    Attributes:
        width: the size of an embedding.
        projection: Base64 of little-endian float16 [width, directions].
        centers: Base64 of little-endian float32 [labels, directions], the projected means.
        limit: the distance that one in a hundred calibration recordings exceeded, each of a speaker
            who had no part in the means and the covariance.
    """

    width: int
    projection: str
    centers: str
    limit: float

    def novelty(self, embedding: npt.NDArray[Any]) -> float:
        """Return the distance of an embedding [width], as a multiple of the limit.

        Raises:
            BundleError: the embedding has another width.
        """
        if embedding.shape != (self.width,):
            raise BundleError(
                f"the embedding has the shape {embedding.shape}, and the bundle was calibrated for "
                f"{self.width} numbers; calibrate it again."
            )
        projection, centers = self._arrays
        point = embedding.astype(np.float64) @ projection
        return float(np.sqrt(((centers - point) ** 2).sum(axis=1)).min() / self.limit)

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        projection = np.frombuffer(base64.b64decode(self.projection), "<f2").astype(np.float64)
        projection = projection.reshape(self.width, -1)
        centers = np.frombuffer(base64.b64decode(self.centers), "<f4").astype(np.float64)
        return projection, centers.reshape(-1, projection.shape[1])

    @property
    def problem(self) -> str:
        """Why these cannot be a projection and its centers; "" if they can."""
        try:
            if not 0 < self.width <= MAX_WIDTH or not (0 < self.limit < math.inf):
                return "width and limit must be positive"
            projection, centers = self._arrays
        except (ValueError, binascii.Error):
            return "projection and centers do not fit its width"
        if not projection.size or not centers.size:
            return "projection and centers are empty"
        if not (np.isfinite(projection).all() and np.isfinite(centers).all()):
            return "projection and centers are not finite"
        return ""


@dataclass(frozen=True)
class Calibration:
    """How a bundle was calibrated.

    Attributes:
        manifest: the name of the list of the calibration recordings.
        recordings: the number of these recordings.
        speakers: the number of their speakers; None if the manifest does not name them.
        measured: figures by name, before and after, for speakers that were left out of the fit.
        temperature: what divides the logits before the softmax or sigmoid; 1 of a regression.
        scales: what each value of a regression is multiplied by; else empty.
        offsets: what is then added to each; else empty.
        thresholds: for each coverage of `PERCENTS`, the most probability that the labels before one
            may have together if it belongs to the set; empty unless the model chooses one label.
        domain: where the embeddings lie.
    """

    manifest: str
    recordings: int
    speakers: int | None
    measured: Mapping[str, tuple[float, float]]
    temperature: float = 1.0
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = field(default=(), repr=False)
    domain: Domain | None = field(default=None, repr=False)

    def candidates(
        self, probabilities: Mapping[str, float], coverage: float = COVERAGE
    ) -> tuple[str, ...]:
        """Return the set of labels that holds the true one with a certain probability.

        These are the sets of Romano, Sesia and Candès (NeurIPS 2020), by split conformal
        prediction and without randomization: the labels in the order of their probability, until
        those before have more of it together than a threshold. The most probable label is always
        in the set.

        Args:
            probabilities: the calibrated probability of each label.
            coverage: the share of recordings like the calibration recordings whose set holds the
                true label, from 0.01 to 0.99; rounded up to a whole percent.

        Raises:
            CalibrationError: the coverage is out of range, or the model does not choose one label.
        """
        if not self.thresholds:
            raise CalibrationError(
                "there are sets of candidates only where the model chooses one of several labels."
            )
        if not PERCENTS[0] / 100 <= coverage <= PERCENTS[-1] / 100:
            raise CalibrationError(f"coverage is {coverage!r}; pass a number from 0.01 to 0.99.")
        percent = math.ceil(round(100 * coverage, 6))
        threshold = self.thresholds[percent - PERCENTS[0]]
        names = list(probabilities)
        above = mass_above(np.array([list(probabilities.values())]))[0]
        chosen = sorted((mass, name) for mass, name in zip(above, names, strict=True))
        return tuple(name for mass, name in chosen if mass <= threshold)

    def to_json(self) -> dict[str, Any]:
        """Return `calibration` as it is in `bundle.json`."""
        content = asdict(self)
        for name in ("scales", "offsets", "thresholds", "domain"):
            if not content[name]:
                del content[name]
        return content


def mass_above(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return for each label the probability of all labels before it together, at most 1.

    Args:
        probabilities: the probability of each label [recordings, labels].

    Returns:
        [recordings, labels]; 0 for the most probable label of each recording.
    """
    values = np.asarray(probabilities, np.float64)
    order = np.argsort(-values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    before = np.cumsum(ordered, axis=1)[:, :-1]
    mass = np.zeros_like(values)
    np.put_along_axis(mass, order[:, 1:], np.minimum(before, 1.0), axis=1)
    return mass
