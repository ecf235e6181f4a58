"""Rounding of weights that lets later rows make up for the error of earlier ones.

The nearest int8 value of each weight is not the best matrix: a product's inputs are correlated, so
the error of one row can be taken back by the rows that meet what goes with its input. After
Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(ICLR 2023), with the inputs' second moments in place of a Hessian.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from voxmood.audio import Waveform
from voxmood_export.inference import InferenceForm
from voxmood_export.product import Product

ROUNDED = re.compile(r"(front_end\.[1-9]\d*\.product|projection)$")
"""Products worth it: all that follows amplifies their error, and their inputs are far off zero."""

BLOCK = 128  # rows after which the error reaches those beyond the block
DAMPING = 0.01  # of the mean second moment, added to each, as in the paper

Moments = Mapping[str, npt.NDArray[np.float64]]
"""E[x xᵀ] of a product's inputs, [in, in], by the name of its weight."""


@torch.no_grad()
def second_moments(
    form: InferenceForm, clips: Sequence[Waveform], by_window: re.Pattern[str]
) -> Moments:
    """Of the inputs of every product that `ROUNDED` names, mean over the frames of all clips.

    Args:
        form: the network.
        clips: what it hears.
        by_window: matches weights whose activations have a scale for each window. Quiet windows
            count as much as loud ones there, since a norm will make them as loud.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def observe(name: str, x: Tensor) -> None:
        x = x.flatten(0, -2)
        if by_window.match(name):
            x = functional.normalize(x, dim=-1)
        sums[name] = sums.get(name, torch.zeros(())) + x.T @ x
        counts[name] = counts.get(name, 0) + len(x)

    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=f"{name}.matrix": observe(name, inputs[0])
        )
        for name, module in form.named_modules()
        if isinstance(module, Product) and ROUNDED.match(name)
    ]
    for clip in clips:
        form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    for handle in handles:
        handle.remove()
    return {name: (total.double() / counts[name]).numpy() for name, total in sums.items()}


def round_weight(
    matrix: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    moments: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Rounds a matrix row by row, each row's error spread over the rows that are still to come.

    Args:
        matrix: [in, out].
        scale: of each column, [1, out].
        moments: E[x xᵀ] of what it is multiplied by, [in, in].

    Returns:
        int8 values of -127 to 127, [in, out].
    """
    # Rows that meet the loudest inputs go first, while there are most others to make up for them.
    order = np.argsort(-moments.diagonal(), kind="stable")
    moments = moments[np.ix_(order, order)]
    moments += np.eye(len(moments)) * (DAMPING * moments.diagonal().mean() + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(torch.from_numpy(moments)))
    upper = torch.linalg.cholesky(inverse, upper=True).float()
    rest = torch.from_numpy(matrix[order] / scale)  # in steps of each column
    values = torch.empty_like(rest)
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        errors = torch.empty_like(rest[start:end])
        for row in range(start, end):
            values[row] = rest[row].round().clamp(-127, 127)
            error = (rest[row] - values[row]) / upper[row, row]
            rest[row + 1 : end] -= upper[row, row + 1 : end, None] * error
            errors[row - start] = error
        rest[end:] -= upper[start:end, end:].T @ errors
    result = np.empty(matrix.shape, np.int8)
    result[order] = values.to(torch.int8).numpy()
    return result
