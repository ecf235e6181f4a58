"""Rounding of the network's weights to those that int8 can store, before its classifier learns."""

from __future__ import annotations

from typing import Any

import torch
from network import Student
from torch import Tensor, nn

LARGEST = 127  # the code of the largest weight of an output channel


def rounded(weight: Tensor) -> Tensor:
    """Return a weight [out, ...] whose every output channel is a scale times int8 values."""
    scale = weight.flatten(1).abs().amax(1) / LARGEST
    scale = torch.where(scale == 0, 1.0, scale).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale


@torch.no_grad()
def round_weights(student: Student, part: nn.Module, waves: Tensor) -> None:
    """Round the weights of a part of the network, so that int8 and float have the same.

    Each bias takes the mean error of its layer's output; the layers before are rounded already.
    waves: [clips, samples] of unit variance.
    """

    def correct(module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        module.weight.copy_(rounded(module.weight))
        error = module.forward(inputs[0]) - output
        channels = error.ndim - 1 if isinstance(module, nn.Linear) else 1
        module.bias -= error.mean([axis for axis in range(error.ndim) if axis != channels])
        result: Tensor = module.forward(inputs[0])
        return result

    layers = [layer for layer in part.modules() if isinstance(layer, nn.Linear | nn.Conv1d)]
    handles = [layer.register_forward_hook(correct) for layer in layers]
    student.model(waves)
    for handle in handles:
        handle.remove()
