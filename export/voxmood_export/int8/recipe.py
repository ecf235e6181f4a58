"""The recipe: what int8 does to each linear layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, cast

from torch import nn

from voxmood_export.network.encoder import BlockedGroupedConv, EncoderLayer, PositionGate
from voxmood_export.network.feature_encoder import FeatureEncoderLayer
from voxmood_export.network.inference_form import InferenceForm

FIRST_OF_TWO_TERMS = {"layer": 3, "group": 4}
"""The first layer of a feature encoder whose activations get two terms, by the kind of its norms.
The layers from there on are small, and the whole encoder amplifies their error."""


class Activations(Enum):
    """How the activations that a linear layer takes are quantized.

    Attributes:
        PER_TENSOR: to uint8, with one range for the whole tensor.
        TWO_TERMS: to the sum of two uint8 tensors, which is 16 bits for twice the time.
        PER_ROW: to uint8, with one scale for each row.
        PER_ROW_TWO_TERMS: to the sum of two uint8 tensors, with one scale for each row.
        FLOAT: not at all. The layer computes in float, and its weights alone are stored in int8.
    """

    PER_TENSOR = auto()
    TWO_TERMS = auto()
    PER_ROW = auto()
    PER_ROW_TWO_TERMS = auto()
    FLOAT = auto()

    @property
    def has_row_scales(self) -> bool:
        """Return whether each row has a scale of its own."""
        return self in (Activations.PER_ROW, Activations.PER_ROW_TWO_TERMS)

    @property
    def has_two_terms(self) -> bool:
        """Return whether a tensor is the sum of two uint8 tensors."""
        return self in (Activations.TWO_TERMS, Activations.PER_ROW_TWO_TERMS)


@dataclass(frozen=True)
class Recipe:
    """What int8 does to a network.

    Attributes:
        activations: how the activations of a layer are quantized, by the name of its weight. The
            weights of these layers become int8; all others stay in float.
        gelu_step: whether GELU's outputs get a step of which GELU's minimum is a multiple.
    """

    activations: Mapping[str, Activations]
    gelu_step: bool = True

    def without(self, in_float: Collection[str]) -> Recipe:
        """Return this recipe with the layers of some weights left in float."""
        kept = {name: how for name, how in self.activations.items() if name not in in_float}
        return replace(self, activations=kept)

    def weight_only(self) -> Recipe:
        """Return this recipe with all activations left in float."""
        return replace(self, activations=dict.fromkeys(self.activations, Activations.FLOAT))


def choose_recipe(form: InferenceForm) -> Recipe:
    """Return the recipe for a network.

    The first layer stays in float, since the samples of a window have the recording's full dynamic
    range; so do the head, which works on one vector, and WavLM's gates. None of them is large.
    """
    first, *others = form.front_end
    gates = [module for module in form.modules() if isinstance(module, PositionGate)]
    in_float = {part for module in (first, form.head, *gates) for part in module.modules()}

    # What follows amplifies the error of these layers, and their inputs are far off zero.
    special: dict[nn.Module, Activations] = {form.projection: Activations.TWO_TERMS}
    for number, layer in enumerate(others, start=1):
        two_terms = number >= FIRST_OF_TWO_TERMS[form.config.feat_extract_norm]
        if form.config.feat_extract_norm == "group":
            # No norm follows these layers. A tensor's range is that of its loudest moment, and the
            # quiet moments, which the encoder's first norm makes as loud, would drown in rounding.
            activations = Activations.PER_ROW_TWO_TERMS if two_terms else Activations.PER_ROW
        else:
            activations = Activations.TWO_TERMS if two_terms else Activations.PER_TENSOR
        special[cast(FeatureEncoderLayer, layer).product] = activations
    if not getattr(form.config, "feat_proj_layer_norm", True):
        # Without a norm before the projection, loud and quiet moments share a range here.
        positional = cast(BlockedGroupedConv, form.positional.conv)
        special[positional.product] = Activations.TWO_TERMS
    if form.config.model_type == "emotion2vec":
        # Its answer is the mean of the last states alone. States hardly vary over time, so with one
        # range for a tensor rounding errs the same way in every frame, and no mean over time helps.
        for module in form.front_end[2:3]:
            second = cast(FeatureEncoderLayer, module)
            special[second.product] = Activations.PER_ROW
        for layer in cast(list[EncoderLayer], list(form.layers)):
            special[layer.attention.value] = Activations.TWO_TERMS
            special[layer.expand] = Activations.PER_ROW
        for conv in cast(Any, form.positional).convs:
            special[conv.product] = Activations.TWO_TERMS
    layers = form.linear_layers()
    return Recipe(
        {
            name: special.get(layer, Activations.PER_TENSOR)
            for name, layer in layers.items()
            if layer not in in_float
        }
    )
