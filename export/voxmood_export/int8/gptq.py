"""GPTQ: rounding of weights in which later rows make up for the error of earlier ones.

Rounding each weight to the nearest int8 value does not give the best matrix. A layer's inputs are
correlated, so rows whose inputs vary with those of an earlier row can take back its error. The
method is that of Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers" (ICLR 2023), with the inputs' second moments in place of a Hessian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from voxmood.audio import Waveform
from voxmood_export.int8.recipe import Recipe
from voxmood_export.network.inference_form import InferenceForm

LARGEST = 127  # of the values
BLOCK = 128  # rows after which the error reaches those beyond the block
DAMPING = 0.01  # of the mean second moment, added to each, as in the paper
MOST_INPUTS = 4096
"""The inputs of the widest layer that GPTQ rounds. Wider are positional convolutions, whose moments
would take gigabytes."""

Moments = dict[str, npt.NDArray[np.float32]]
"""E[x xᵀ] of a linear layer's inputs, [in, in], by the name of its weight. A stack of matrices has
one for each, [..., in, in]."""


@torch.no_grad()
def second_moments(form: InferenceForm, recipe: Recipe, clips: Sequence[Waveform]) -> Moments:
    """Return the moments of the inputs of every layer that GPTQ rounds.

    Args:
        form: the network.
        recipe: says which layers get int8. Where their activations have a scale for each row,
            quiet rows count as much as loud ones, since a norm will make them as loud.
        clips: the recordings, over all frames of which the moments are means.
    """
    layers = form.linear_layers()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def observe(name: str, x: Tensor) -> None:
        if layers[name].matrix.ndim == 2:  # else each matrix of the stack has inputs of its own
            x = x.flatten(0, -2)
        if recipe.activations[name].has_row_scales:
            x = functional.normalize(x, dim=-1)
        added = x.mT @ x
        sums[name] = sums[name].add_(added) if name in sums else added
        counts[name] = counts.get(name, 0) + x.shape[-2]

    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: observe(name, inputs[0]))
        for name, layer in layers.items()
        if name in recipe.activations and layer.matrix.shape[-2] <= MOST_INPUTS
    ]
    for clip in clips:
        form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    for handle in handles:
        handle.remove()
    return {name: total.div_(counts[name]).numpy() for name, total in sums.items()}


def round_steps(
    steps: npt.NDArray[np.float32], moments: npt.NDArray[np.float32], pair: int | None = None
) -> npt.NDArray[np.int8]:
    """Return a matrix rounded row by row, each row's error spread over the rows after it.

    Args:
        steps: the matrix in steps of each column's scale, [in, out].
        moments: E[x xᵀ] of the layer's inputs x, [in, in].
        pair: the largest size of the sum of two neighboring rows' values that have one sign; see
            `weights.py`. None sets no bound.

    Returns:
        int8 values from -127 to 127, [in, out].
    """
    # Rows with the loudest inputs go first, while most others are left to make up for them.
    order = np.argsort(-moments.diagonal(), kind="stable")
    damped = moments[np.ix_(order, order)].astype(np.float64)
    damped[np.diag_indices(len(damped))] += DAMPING * damped.diagonal().mean() + 1e-12
    # The upper factor of the inverse is the inverse of the factor that begins at the other end.
    factor = torch.linalg.cholesky(torch.from_numpy(damped).flip(0, 1)).flip(0, 1)
    upper = torch.linalg.solve_triangular(factor, torch.eye(len(damped)).double(), upper=True)
    upper = upper.float()
    rest = torch.from_numpy(steps[order])
    values = torch.empty_like(rest)
    neighbors = np.argsort(order)[np.minimum(order ^ 1, len(order) - 1)]
    for start in range(0, len(rest), BLOCK):
        end = min(start + BLOCK, len(rest))
        errors = torch.empty_like(rest[start:end])
        for row in range(start, end):
            goal, neighbor = rest[row], neighbors[row]
            if pair is not None and neighbor < row:  # rounded already; this row gets what is left
                taken = values[neighbor]
                goal = goal.clamp(-pair - taken.clamp(max=0), pair - taken.clamp(min=0))
            elif pair is not None:  # each of the two gives up half of the excess
                beyond = ((goal + rest[neighbor]).abs() - pair).clamp(min=0) / 2
                goal = torch.where(goal * rest[neighbor] > 0, goal - goal.sign() * beyond, goal)
            values[row] = goal.round().clamp(-LARGEST, LARGEST)
            error = (rest[row] - values[row]) / upper[row, row]
            rest[row + 1 : end] -= upper[row, row + 1 : end, None] * error
            errors[row - start] = error
        rest[end:] -= upper[start:end, end:].T @ errors
    result = np.empty(steps.shape, np.int8)
    result[order] = values.to(torch.int8).numpy()
    return result
