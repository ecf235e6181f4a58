"""Weights in int8, rounded to the nearest value or by GPTQ, of 8 bits or of 7.

x86 without VNNI adds two products of a uint8 and an int8 in 16 bits, and what does not fit is cut
off. The two belong to neighboring rows of a matrix. Weights of 7 bits always fit: two neighbors of
one sign share a budget of twice 64, and one may take more where the other needs less.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxmood_export.int8.gptq import LARGEST, round_steps

PAIR = 128
"""The largest sum of two neighbors of one sign: 16 bits hold 255 * 128, and not 255 * 129."""

COARSER = np.linspace(1, 2, 21, dtype=np.float32)
"""How much coarser a column's scale may be with 7 bits than with 8. At 2, every pair is within its
budget."""


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
    *,
    seven_bits: bool = False,
) -> QuantizedWeight:
    """Return a matrix in symmetric int8 with a scale for each column.

    Args:
        matrix: [..., in, out].
        moments: E[x xᵀ] of the inputs of each matrix, [..., in, in], for GPTQ. None rounds to the
            nearest values.
        seven_bits: whether to give the weights 7 bits instead of 8.
    """
    scale = np.abs(matrix).max(axis=-2, keepdims=True) / np.float32(LARGEST)
    scale[scale == 0] = 1  # a column of zeros stays one
    pair = None
    if seven_bits:
        pair = PAIR
        scale *= COARSER[-1] if moments is None else _coarser(matrix / scale)
    steps = matrix / scale
    if moments is None:
        values = np.rint(steps).astype(np.int8)
    elif matrix.ndim == 2:
        values = round_steps(steps, moments, pair)
    else:
        parts = zip(steps, moments, strict=True)
        values = np.stack([round_steps(*part, pair) for part in parts])
    return QuantizedWeight(values, scale[0] if matrix.ndim == 2 else scale)


def _coarser(steps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how much coarser each column's scale is for the least error, [..., 1, out].

    The error has two parts: rounding, which is uniform in a step, and what pairs lose to their
    budget.

    Args:
        steps: the weights in steps of 8 bits, [..., in, out].
    """
    rows = np.arange(steps.shape[-2])
    neighbors = steps[..., np.minimum(rows ^ 1, rows[-1]), :]  # a last row alone is its own
    sums = np.where(steps * neighbors > 0, np.abs(steps + neighbors), 0)
    errors = [
        len(rows) * factor**2 / 12
        + (np.maximum(sums - PAIR * factor, 0) ** 2).sum(axis=-2, keepdims=True) / 4
        for factor in COARSER
    ]
    factors: npt.NDArray[np.float32] = COARSER[np.argmin(errors, axis=0)]
    return factors
