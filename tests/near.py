"""How near two float32 results of the same function are, on any CPU.

Each instruction set adds up in an order of its own, so results differ by rounding, and rounding
grows with the size of what is added up. A tolerance is therefore a share of the largest value, and
of 1, since small logits are differences of larger terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

ROUNDING = 2.0**-24
"""The largest error of one rounding to float32, as a share of the value."""

NETWORK = 512 * ROUNDING
"""For the logits of a whole network: twice the largest difference that PyTorch's kernels for SSE4,
AVX2 and AVX-512 made in 3,000 clips."""

LAYER = 32 * ROUNDING
"""For one layer, or what a network has before its classifier takes differences of it."""

FLOAT16 = 16 * 2.0**-11
"""For the logits of a network whose weights were rounded to float16."""

NETWORK_DB = 90
"""`NETWORK` as signal to noise, for what is told of two networks as SQNR."""


def near(expected: npt.ArrayLike, share: float = NETWORK, size: float = 0.0) -> Any:
    """Return what equals an array that is within a share of the expected one's largest value.

    Args:
        expected: the array.
        share: the share, such as `NETWORK`.
        size: the size of what is added up to it, where that is known and larger. Random
            classifiers have large weights, so that their logits differ from clip to clip.
    """
    values = np.asarray(expected, np.float64)
    return pytest.approx(values, rel=0, abs=share * (1 + max(size, np.abs(values).max())))


def terms(weight: npt.NDArray[Any], vector: npt.NDArray[Any]) -> float:
    """Return the largest sum of absolute terms in `weight @ vector`."""
    return float((np.abs(weight) @ np.abs(vector)).max())
