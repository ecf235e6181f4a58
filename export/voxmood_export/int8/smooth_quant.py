"""SmoothQuant: outliers move from the channels of activations into the weights after them.

Int8 has one range for a whole tensor, so a channel that is 30 times louder than the others, or far
off zero, leaves them 30 times fewer steps. If a tensor feeds nothing but linear layers, each of its
channels can be centered and scaled, and the float network stays the same:
``x @ W = ((x - c) / s) @ (s W) + c @ W``. Three kinds of tensors can be changed like this at
no cost, or hardly any:

- the output of a layer norm, by its weight and bias;
- the output of attention, by the columns and bias of its value layer, since attention takes
  averages of values with weights that sum to one;
- the output of a layer norm that feeds a residual as well: the residual is multiplied by the scale,
  and the layer that is added to it adds the center, too.

The scale is that of Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization
for Large Language Models" (ICML 2023): ``s = sqrt(peak of x / peak of W)``. Centering is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from voxmood.audio import Waveform
from voxmood_export.network.encoder import EncoderLayer
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.network.linear import LinearLayer


@dataclass(frozen=True)
class Outliers:
    """How far the loudest channel of a tensor stands above its median channel.

    Attributes:
        tensor: the module whose output it is.
        before: the ratio in the checkpoint.
        after: the ratio after SmoothQuant. None says that the tensor feeds more than linear layers
            and a residual, and was left as it is.
    """

    tensor: str
    before: float
    after: float | None


@dataclass(frozen=True)
class _Site:
    """Describe a tensor that feeds linear layers.

    Attributes:
        source: what the tensor comes from.
        layers: the linear layers that take it.
        added: the layer whose output is added to the tensor, if that feeds a residual.
        taker: the layer of the encoder whose input the tensor is, likewise.
        middle: the layer of the encoder that has the tensor between attention and feed-forward,
            likewise.
        fixed: whether something else takes it as well, so that it stays as it is.
    """

    source: nn.LayerNorm | LinearLayer
    layers: list[LinearLayer]
    added: LinearLayer | None = None
    taker: EncoderLayer | None = None
    middle: EncoderLayer | None = None
    fixed: bool = False


@torch.no_grad()
def smooth(form: InferenceForm, clips: Sequence[Waveform]) -> list[Outliers]:
    """Smooth a form in place; its function and the modules of its checkpoint stay the same.

    Args:
        form: the form of a single clip.
        clips: recordings to observe the channels on.

    Returns:
        The outliers of every layer norm before a linear layer, and of the values of attention.
    """
    sites = _sites(form)
    observed = _observe(form, sites, clips)
    outliers = []
    for name, site in sites.items():
        center, peak = observed[name]
        before = _ratio(peak + center.abs())
        if site.fixed:
            outliers.append(Outliers(name, before, None))
            continue
        scale = _scale(peak, site.layers)
        _move(site, center, scale)
        outliers.append(Outliers(name, before, _ratio(peak / scale)))
        if site.taker:
            site.taker.center, site.taker.scale = center, scale
        if site.middle:
            site.middle.middle_scale = scale
    return outliers


def _sites(form: InferenceForm) -> dict[str, _Site]:
    """Return all sites by name, in the order of the network."""
    sites: dict[str, _Site] = {}
    if isinstance(form.projection_norm, nn.LayerNorm):
        sites["projection_norm"] = _Site(form.projection_norm, [form.projection])
    # What gives the states that a post-norm layer takes.
    before: tuple[str, Any] = "encoder_norm", form.encoder_norm
    for index, module in enumerate(form.layers):
        layer = cast(EncoderLayer, module)
        prefix, attention = f"layers.{index}.", layer.attention
        taken, gated = [attention.query, attention.key, attention.value], attention.gate is not None
        first, second = layer.attention_norm, layer.feed_forward_norm
        if layer.norm_first:
            sites[f"{prefix}attention_norm"] = _Site(first, taken, fixed=gated)
            sites[f"{prefix}feed_forward_norm"] = _Site(second, [layer.expand])
        else:
            name, norm = before
            sites[name] = _Site(norm, taken, attention.out, layer, fixed=gated)
            sites[f"{prefix}attention_norm"] = _Site(
                first, [layer.expand], layer.contract, middle=layer
            )
            before = f"{prefix}feed_forward_norm", second
        sites[f"{prefix}attention.value"] = _Site(attention.value, [attention.out])
    return sites


def _observe(
    form: InferenceForm, sites: dict[str, _Site], clips: Sequence[Waveform]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the mean of each channel of each site and the largest distance from it, both [D]."""
    seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in sites}

    def observe(name: str, x: Tensor) -> None:
        x = x.flatten(0, -2)
        seen[name].append((x.mean(0), x.amin(0), x.amax(0)))

    handles = [
        site.layers[0].register_forward_pre_hook(
            lambda _, inputs, name=name: observe(name, inputs[0])
        )
        for name, site in sites.items()
    ]
    for clip in clips:
        form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    for handle in handles:
        handle.remove()
    result = {}
    for name, rows in seen.items():
        means, lows, highs = (torch.stack(parts) for parts in zip(*rows, strict=True))
        center = means.mean(0)
        result[name] = center, torch.maximum(highs.amax(0) - center, center - lows.amin(0))
    return result


def _scale(peak: Tensor, layers: list[LinearLayer]) -> Tensor:
    """Return the divisor of each channel, [D], which is 1 where peak or weights are zero."""
    weights = torch.stack([layer.matrix.abs().amax(1) for layer in layers]).amax(0)
    usable = (peak > 0) & (weights > 0)
    scale = torch.where(usable, (peak / weights.clamp_min(1e-30)).sqrt(), 1.0)
    # A common factor changes nothing. Scales around one keep the numbers readable.
    return torch.where(usable, scale / scale[usable].median(), 1.0) if usable.any() else scale


def _move(site: _Site, center: Tensor, scale: Tensor) -> None:
    """Take center and scale out of a site's tensor and put them into its linear layers."""
    source = site.source
    if site.added:
        _add(site.added, center)
    bias = -center if source.bias is None else source.bias - center
    if isinstance(source, nn.LayerNorm):
        source.weight = nn.Parameter(source.weight / scale, requires_grad=False)
    else:
        source.matrix = nn.Parameter(source.matrix / scale, requires_grad=False)
    source.bias = nn.Parameter(bias / scale, requires_grad=False)
    for layer in site.layers:
        _add(layer, center @ layer.matrix)
        layer.matrix = nn.Parameter(layer.matrix * scale[:, None], requires_grad=False)


def _add(layer: LinearLayer, vector: Tensor) -> None:
    bias = vector if layer.bias is None else layer.bias + vector
    layer.bias = nn.Parameter(bias, requires_grad=False)


def _ratio(peak: Tensor | float) -> float:
    peak = torch.as_tensor(peak)
    return round(float(peak.max() / peak.median().clamp_min(1e-30)), 2)
