"""Mixed precision: how much each linear layer harms the logits in int8, and which stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from voxmood.audio import Waveform
from voxmood.comparison.metrics import centered
from voxmood_export.int8.recipe import Activations, Recipe
from voxmood_export.int8.weights import QuantizedWeight
from voxmood_export.network.inference_form import InferenceForm

SAMPLES = 160_000  # of speech that each layer is measured on, 10 s


def measure_sensitivity(
    form: InferenceForm,
    recipe: Recipe,
    weights: Mapping[str, QuantizedWeight],
    clips: Sequence[Waveform],
) -> dict[str, float]:
    """Return the power of the error of logits or values with one layer alone in int8.

    Args:
        form: the network of a single clip; it is as before afterward.
        recipe: what int8 does to its layers.
        weights: their weights in int8, by name.
        clips: recordings to measure on, of which the shortest are taken.

    Returns:
        A figure for each layer of the recipe, by the name of its weight.
    """
    clips = _shortest(clips, SAMPLES)
    reference = _logits(form, clips)
    layers = form.linear_layers()
    sensitivity: dict[str, float] = {}
    for name, activations in recipe.activations.items():
        layer = layers[name]
        matrix = layer.matrix
        weight = weights[name]
        rounded = torch.from_numpy(weight.values * weight.scale)
        layer.matrix = nn.Parameter(rounded, requires_grad=False)
        hook = layer.register_forward_pre_hook(
            lambda _, inputs, how=activations: _rounded(inputs[0], how)
        )
        error = _logits(form, clips) - reference
        sensitivity[name] = float((error**2).mean())
        hook.remove()
        layer.matrix = matrix
    return sensitivity


def fewest_in_float(
    sensitivity: Mapping[str, float], is_enough: Callable[[list[str]], bool]
) -> list[str]:
    """Return the fewest layers, most sensitive first, that have to stay in float.

    Args:
        sensitivity: a figure for each layer.
        is_enough: says whether it is enough to keep these layers in float. It is asked a dozen
            times at most.

    Returns:
        The names of the layers' weights: all of them if even that is not enough.
    """
    ordered = sorted(sensitivity, key=lambda name: -sensitivity[name])
    most = 1
    while most < len(ordered) and not is_enough(ordered[:most]):
        most *= 2
    # low layers are too few; high layers are enough, or all of them
    low, high = most // 2, min(most, len(ordered))
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(ordered[:middle]):
            high = middle
        else:
            low = middle
    return ordered[:high]


def _logits(form: InferenceForm, clips: Sequence[Waveform]) -> npt.NDArray[Any]:
    """Return logits or values [clips, labels], without what carries no information."""
    with torch.no_grad():
        rows = [form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0] for clip in clips]
    logits: npt.NDArray[Any] = torch.cat(rows).numpy()
    return centered(logits) if form.head.task == "classification" else logits


def _rounded(x: Tensor, activations: Activations) -> Tensor:
    """Return activations rounded as DynamicQuantizeLinear would do it."""
    if activations is Activations.FLOAT or activations.has_two_terms:
        return x  # the error of 16 bits does not count
    dims = (-1,) if activations.has_row_scales else tuple(range(x.ndim))
    low = x.amin(dims, keepdim=True).clamp_max(0)
    high = x.amax(dims, keepdim=True).clamp_min(0)
    scale = ((high - low) / 255).clamp_min(1e-30)
    zero = (-low / scale).round()
    return ((x / scale + zero).round().clamp(0, 255) - zero) * scale


def _shortest(clips: Sequence[Waveform], samples: int) -> list[Waveform]:
    """Return the shortest clips with this many samples together at most, but at least one clip."""
    chosen: list[Waveform] = []
    for clip in sorted(clips, key=len):
        if chosen and sum(map(len, chosen)) + len(clip) > samples:
            break
        chosen.append(clip)
    return chosen
