"""The int8 graph of a checkpoint: balanced, traced once, quantised as often as bounds ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from voxmood.audio import Waveform
from voxmood.bundle.description import Bundle
from voxmood.comparison.metrics import centred
from voxmood_export.balance import balance
from voxmood_export.bias import correct_bias, embedding_shift
from voxmood_export.checkpoint import Checkpoint
from voxmood_export.graph import export_graph, write_graph
from voxmood_export.inference import InferenceForm
from voxmood_export.product import Product
from voxmood_export.quantize import (
    KEPT_FLOAT,
    finer_in,
    quantize,
    quantize_weight,
)
from voxmood_export.rounding import second_moments
from voxmood_export.verify import Clips

SENSITIVITY_SAMPLES = 160_000  # of speech that every product is measured on alone, 10 s


class Int8:
    """A checkpoint on its way to int8.

    Attributes:
        form: the balanced inference form of a single clip.
        outliers: what balancing did to every tensor; see `balance.Outliers`.
    """

    def __init__(self, checkpoint: Checkpoint, clips: Clips) -> None:
        extractor = checkpoint.extractor
        self.form = InferenceForm(
            checkpoint.model, do_normalize=extractor.do_normalize, batched=False
        )
        self.outliers = balance(self.form, clips.calibration if clips.recorded else None)
        self._clips = clips.calibration
        self._finer = finer_in(self.form.config)
        products = dict(self.form.named_modules())
        moments = second_moments(self.form, self._clips, self._finer.by_window)
        self._weights = {
            name: quantize_weight(_matrix(products[name.removesuffix(".matrix")]), moment)
            for name, moment in moments.items()
        }
        self._graph = export_graph(self.form)

    def write(self, path: Path, bundle: Bundle, in_float: Collection[str] = ()) -> None:
        """Writes the graph, with the products of some weights left in float."""
        model = self._graph.clone()
        quantize(model, self._finer, self._weights, in_float)
        write_graph(model, path, bundle)
        correct_bias(model, embedding_shift(path, self.form, self._clips))
        write_graph(model, path, bundle)

    def harm(self) -> dict[str, float]:
        """Power of the error of centred logits with each product alone in int8, by weight."""
        clips = _some(self._clips, SENSITIVITY_SAMPLES)
        reference = _logits(self.form, clips)
        found: dict[str, float] = {}
        products = {
            f"{name}.matrix": module
            for name, module in self.form.named_modules()
            if isinstance(module, Product) and not KEPT_FLOAT.match(f"{name}.matrix")
        }
        for name, product in tqdm(products.items(), desc="products alone", leave=False):
            matrix = product.matrix
            values, scale = self._weights.get(name) or quantize_weight(_matrix(product))
            product.matrix = nn.Parameter(torch.from_numpy(values * scale), requires_grad=False)
            handle = None
            if not self._finer.two_terms.match(name):
                dims = (-1,) if self._finer.by_window.match(name) else None
                handle = product.register_forward_pre_hook(
                    lambda _, inputs, dims=dims: _rounded(inputs[0], dims)
                )
            error = centred(_logits(self.form, clips)) - centred(reference)
            found[name] = float((error**2).mean())
            product.matrix = matrix
            if handle is not None:
                handle.remove()
        return found


def fewest(harm: dict[str, float], enough: Callable[[list[str]], bool]) -> list[str]:
    """The fewest products, worst first, that have to stay in float.

    Args:
        harm: of each product alone.
        enough: whether it is, with these in float; tried a dozen times at most.

    Returns:
        Their weights' names; all of them if even that is not enough.
    """
    worst = sorted(harm, key=lambda name: -harm[name])
    most = 1
    while most < len(worst) and not enough(worst[:most]):
        most *= 2
    low, high = most // 2, min(most, len(worst))  # low is too few, high enough or all there is
    while high - low > 1:
        middle = (low + high) // 2
        if enough(worst[:middle]):
            high = middle
        else:
            low = middle
    return worst[:high]


def _matrix(product: nn.Module) -> npt.NDArray[np.float32]:
    return cast(Product, product).matrix.detach().numpy()


def _logits(form: InferenceForm, clips: Sequence[Waveform]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        rows = [form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0] for clip in clips]
    return torch.cat(rows).numpy()


def _rounded(x: Tensor, dims: tuple[int, ...] | None) -> Tensor:
    """As DynamicQuantizeLinear and back, a range for all or for each slice along dims."""
    dims = dims or tuple(range(x.ndim))
    low = x.amin(dims, keepdim=True).clamp_max(0)
    high = x.amax(dims, keepdim=True).clamp_min(0)
    scale = ((high - low) / 255).clamp_min(1e-30)
    zero = (-low / scale).round()
    return ((x / scale + zero).round().clamp(0, 255) - zero) * scale


def _some(clips: Sequence[Waveform], samples: int) -> list[Waveform]:
    """The shortest clips, up to so many samples of them; at least one."""
    chosen: list[Waveform] = []
    for clip in sorted(clips, key=len):
        if chosen and sum(map(len, chosen)) + len(clip) > samples:
            break
        chosen.append(clip)
    return chosen
