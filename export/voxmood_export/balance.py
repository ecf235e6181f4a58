"""Balance: what makes a channel an outlier moves from activations into the weights they meet.

int8 has one range for a whole tensor, so a channel that is 30 times louder than the others, or
stands far off zero, leaves them 30 times fewer steps. Where a tensor feeds products alone, each of
its channels can be centred and scaled, and the float network stays the same:
``x @ W = ((x - c) / s) @ (s W) + c @ W``. Two kinds of tensors can be changed so at no cost:

- the output of a layer norm, by its weight and bias;
- the output of attention, by the columns and bias of its value product: attention takes averages
  of values, with weights that sum to one.

The scale is SmoothQuant's trade (Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models", ICML 2023): ``s = sqrt(peak of x / peak of W)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from voxmood.audio import Waveform
from voxmood_export.encoder import EncoderLayer
from voxmood_export.inference import InferenceForm
from voxmood_export.product import Product


@dataclass(frozen=True)
class Outliers:
    """How far the loudest channel of a tensor stands above its median channel.

    Attributes:
        tensor: the module that gives it.
        before: as the checkpoint has it.
        after: balanced; None where the tensor does not feed products alone and was left.
    """

    tensor: str
    before: float
    after: float | None


@dataclass(frozen=True)
class _Site:
    """A tensor that feeds products alone: what gives it, and all that take it."""

    source: nn.LayerNorm | Product
    products: list[Product]


@torch.no_grad()
def balance(form: InferenceForm, clips: Sequence[Waveform] | None) -> list[Outliers]:
    """Balances a form in place; its function stays, and so do the modules of its checkpoint.

    Args:
        form: of a single clip.
        clips: recordings to observe channels on; None estimates them from the weights, with the
            inputs of layer norms taken for standard normal.

    Returns:
        Every layer norm in front of a product, and the values of every layer.
    """
    sites = _sites(form)
    observed = _observe(form, sites, clips) if clips else {}
    outliers = []
    for name, site in sites.items():
        centre, peak = observed.get(name) or _estimate(site.source)
        scale = _scale(peak, site.products)
        _move(site, centre, scale)
        outliers.append(Outliers(name, _ratio(peak + centre.abs()), _ratio(peak / scale)))
    left = [
        (f"layers.{index}.{name}", getattr(layer, name))
        for index, layer in enumerate(form.layers)
        for name in ("attention_norm", "feed_forward_norm")
        if f"layers.{index}.{name}" not in sites
    ]
    return outliers + [Outliers(name, _ratio(sum(_estimate(norm))), None) for name, norm in left]


def _sites(form: InferenceForm) -> dict[str, _Site]:
    """By name, in the order of the network."""
    sites: dict[str, _Site] = {}

    def norm(owner: nn.Module, name: str, products: list[Product], prefix: str = "") -> None:
        source = getattr(owner, name)
        if isinstance(source, nn.LayerNorm):
            sites[prefix + name] = _Site(source, products)

    norm(form, "projection_norm", [form.projection])
    for index, module in enumerate(form.layers):
        layer = cast(EncoderLayer, module)
        prefix, attention = f"layers.{index}.", layer.attention
        # After a post-norm layer's norms comes its residual too; WavLM's gates take the first.
        if layer.norm_first and attention.gate is None:
            taken = [attention.query, attention.key, attention.value]
            norm(layer, "attention_norm", taken, prefix)
        sites[f"{prefix}attention.value"] = _Site(attention.value, [attention.out])
        if layer.norm_first:
            norm(layer, "feed_forward_norm", [layer.expand], prefix)
    return sites


def _estimate(source: nn.LayerNorm | Product) -> tuple[Tensor, Tensor]:
    """Centre and peak of each channel, [D], of a norm or of a product of a balanced norm."""
    if isinstance(source, nn.LayerNorm):
        return source.bias.detach(), source.weight.detach().abs()
    bias = source.matrix.new_zeros(source.matrix.shape[1]) if source.bias is None else source.bias
    return bias.detach(), source.matrix.detach().norm(dim=0)


def _observe(
    form: InferenceForm, sites: dict[str, _Site], clips: Sequence[Waveform]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and largest distance from it of each channel, [D], of what the products take."""
    seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in sites}

    def observe(name: str, x: Tensor) -> None:
        x = x.flatten(0, -2)
        seen[name].append((x.mean(0), x.amin(0), x.amax(0)))

    handles = [
        site.products[0].register_forward_pre_hook(
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
        centre = means.mean(0)
        result[name] = centre, torch.maximum(highs.amax(0) - centre, centre - lows.amin(0))
    return result


def _scale(peak: Tensor, products: list[Product]) -> Tensor:
    """What each channel is divided by, [D]; 1 for channels or weights that are zero."""
    weights = torch.stack([product.matrix.abs().amax(1) for product in products]).amax(0)
    usable = (peak > 0) & (weights > 0)
    scale = torch.where(usable, (peak / weights.clamp_min(1e-30)).sqrt(), 1.0)
    # A common factor changes nothing; around one it keeps the numbers readable.
    return torch.where(usable, scale / scale[usable].median(), 1.0) if usable.any() else scale


def _move(site: _Site, centre: Tensor, scale: Tensor) -> None:
    """Takes centre and scale out of the tensor, and puts them into its products."""
    source = site.source
    bias = -centre if source.bias is None else source.bias - centre
    if isinstance(source, nn.LayerNorm):
        source.weight = nn.Parameter(source.weight / scale, requires_grad=False)
    else:
        source.matrix = nn.Parameter(source.matrix / scale, requires_grad=False)
    source.bias = nn.Parameter(bias / scale, requires_grad=False)
    for product in site.products:
        added = centre @ product.matrix
        added = added if product.bias is None else product.bias + added
        product.bias = nn.Parameter(added, requires_grad=False)
        product.matrix = nn.Parameter(product.matrix * scale[:, None], requires_grad=False)


def _ratio(peak: Tensor | float) -> float:
    peak = torch.as_tensor(peak)
    return round(float(peak.max() / peak.median().clamp_min(1e-30)), 2)
