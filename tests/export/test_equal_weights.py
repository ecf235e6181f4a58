"""Equal weights, which the exporter joins, are weights of their own in every graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from variations import first_of, one_at_a_time

import voxmood
from voxmood_export import export_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.graph import export_graph
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import BASE, LARGE, SMALL, Settings, make_checkpoint

State = dict[str, torch.Tensor]
PROJECTOR_LIKE_LAYERS = {"classifier_proj_size": SMALL["hidden_size"]}


def zero_biases(state: State) -> None:
    for name, tensor in state.items():
        if name.endswith("bias"):
            tensor.zero_()


def equal_to_the_projector(state: State) -> None:
    last = "wav2vec2.encoder.layers.2.attention.out_proj"
    for kind in ("weight", "bias"):
        state[f"{last}.{kind}"].copy_(state[f"projector.{kind}"])


def equal_layers(state: State) -> None:
    for name, tensor in state.items():
        tensor.copy_(state[re.sub(r"encoder\.layers\.\d", "encoder.layers.0", name)])


def make(folder: Path, settings: Settings, change: Callable[[State], None]) -> Path:
    make_checkpoint(folder, settings | SMALL | PROJECTOR_LIKE_LAYERS)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("change", "kind"),
    one_at_a_time(
        [zero_biases, equal_to_the_projector, equal_layers],
        [(LARGE, "single"), (BASE, "single"), (LARGE, "half")],
    ),
)
def test_every_weight_keeps_its_name(
    tmp_path: Path, change: Callable[[State], None], kind: tuple[Settings, str]
) -> None:
    settings, form = kind
    loaded = load_checkpoint(str(make(tmp_path, settings, change)))
    inference = InferenceForm(
        loaded.model, do_normalize=True, batched=form == "half", half=form == "half"
    )
    initializers = export_graph(inference).graph.initializers
    for name, parameter in inference.named_parameters():
        tensor = initializers[name].const_value
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), parameter.detach().numpy(), err_msg=name)


@pytest.mark.parametrize("change", first_of([zero_biases, equal_to_the_projector]))
def test_the_bundle_is_that_of_the_checkpoint(
    tmp_path: Path, change: Callable[[State], None]
) -> None:
    folder = make(tmp_path / "checkpoint", LARGE, change)
    export_bundle(str(folder), tmp_path / "bundle")  # fp32 is compared with transformers
    measured = voxmood.load(tmp_path / "bundle").bundle.precisions["int8"].measured
    assert measured["sqnr_db"] > 12  # as without equal weights
    if change is zero_biases:
        # Bias correction has changed one bias and none of those that were equal to it.
        graph = onnx.load(tmp_path / "bundle" / "model.int8.onnx").graph
        biases = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        assert biases["head.projector.bias"].any()
        assert not biases["head.classifier.bias"].any()
