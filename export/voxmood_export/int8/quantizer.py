"""A checkpoint's way to int8: smoothed and traced once, quantized as often as bounds ask for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from voxmood.audio import Waveform
from voxmood.bundle.description import Bundle
from voxmood_export.checkpoint import Checkpoint
from voxmood_export.graph import export_graph, write_graph
from voxmood_export.int8.bias_correction import correct_bias, output_shift
from voxmood_export.int8.gptq import second_moments
from voxmood_export.int8.graph_pass import quantize
from voxmood_export.int8.recipe import choose_recipe
from voxmood_export.int8.sensitivity import measure_sensitivity
from voxmood_export.int8.smooth_quant import smooth
from voxmood_export.int8.weights import QuantizedWeight, quantize_weight
from voxmood_export.network.inference_form import InferenceForm


class Quantizer:
    """Make int8 graphs of a checkpoint.

    Args:
        checkpoint: the checkpoint.
        clips: what to calibrate on, float32 [samples] each, at its sampling rate.
        weight_only: whether activations stay in float. SmoothQuant then has nothing to do.
        weight_bits: the bits of weights, 7 or 8.

    Attributes:
        form: the inference form of a single clip, after SmoothQuant.
        outliers: what SmoothQuant did to every tensor.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        clips: Sequence[Waveform],
        *,
        weight_only: bool = False,
        weight_bits: int = 8,
    ) -> None:
        extractor = checkpoint.extractor
        self.form = InferenceForm(
            checkpoint.model, do_normalize=extractor.do_normalize, batched=False
        )
        self.outliers = [] if weight_only else smooth(self.form, clips)
        self._clips = clips
        recipe = choose_recipe(self.form)
        self._recipe = recipe.weight_only() if weight_only else recipe
        self._weights = self._round(seven_bits=weight_bits == 7)
        self._graph = export_graph(self.form)

    def _round(self, *, seven_bits: bool) -> dict[str, QuantizedWeight]:
        """Return the weights in int8; the moments, which are gigabytes, are then gone."""
        layers, recipe = self.form.linear_layers(), self._recipe
        moments = second_moments(self.form, recipe, self._clips)
        return {
            name: quantize_weight(
                layers[name].matrix.detach().numpy(),
                moments.pop(name, None),
                seven_bits=seven_bits,
            )
            for name in recipe.activations
        }

    def write(self, path: Path, bundle: Bundle, in_float: Collection[str] = ()) -> None:
        """Write the int8 graph, with the linear layers of some weights left in float."""
        model = self._graph.clone()
        quantize(model, self._recipe.without(in_float), self._weights)
        write_graph(model, path, bundle)
        shift = output_shift(path, self.form, self._clips)
        _, bias = self.form.corrected
        correct_bias(model, bias, shift)
        write_graph(model, path, bundle)

    def sensitivity(self) -> dict[str, float]:
        """Return how much each linear layer harms the logits; see `measure_sensitivity`."""
        return measure_sensitivity(self.form, self._recipe, self._weights, self._clips)
