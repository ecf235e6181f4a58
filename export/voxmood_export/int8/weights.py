"""Weights in int8, rounded to the nearest value or by GPTQ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxmood_export.int8.gptq import round_weight
from voxmood_export.int8.recipe import LARGEST


class QuantizedWeight(NamedTuple):
    """A matrix in int8.

    Attributes:
        values: int8 from -127 to 127 at most, [..., in, out].
        scale: what a column's values are multiplied by, [out], or [..., 1, out] for a stack of
            matrices.
    """

    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


def quantize_weight(
    matrix: npt.NDArray[np.float32],
    moments: npt.NDArray[np.float32] | None = None,
    largest: int = LARGEST,
) -> QuantizedWeight:
    """Return a matrix in symmetric int8 with a scale for each column.

    Args:
        matrix: [..., in, out].
        moments: E[x xᵀ] of the inputs of each matrix, [..., in, in], for GPTQ. None rounds to the
            nearest values.
        largest: the largest value.
    """
    scale = np.abs(matrix).max(axis=-2, keepdims=True) / np.float32(largest)
    scale[scale == 0] = 1  # a column of zeros stays one
    if moments is None:
        values = np.rint(matrix / scale).astype(np.int8)
    elif matrix.ndim == 2:
        values = round_weight(matrix, scale, moments, largest)
    else:
        parts = zip(matrix, scale, moments, strict=True)
        values = np.stack([round_weight(*part, largest) for part in parts])
    return QuantizedWeight(values, scale[0] if matrix.ndim == 2 else scale)
