"""Float graphs: an inference form becomes an ONNX graph through Optimum, and goes onto the disk."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from onnx_ir.passes.common import IdentityEliminationPass
from optimum.exporters.onnx import OnnxConfig
from optimum.exporters.onnx.convert import export
from optimum.utils import NormalizedConfig

from voxmood.bundle.description import OUTPUTS, Bundle
from voxmood_export.network.inference_form import InferenceForm

OPSET = 20  # the first with Gelu as one operator, the last that the TorchScript exporter writes
EXTERNAL_DATA_BYTES = 64 << 20  # larger weights get a file of their own, which is mapped
ALIGNMENT = 64 << 10  # of external data, so that every platform can map it


class WaveformOnnxConfig(OnnxConfig):  # type: ignore[misc]
    """Tell Optimum the contract: waveforms and lengths go in, the task's outputs come out."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    batched = True
    head_task = "classification"

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Return the inputs with their dynamic axes."""
        if self.batched:
            return {"waveform": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
        return {"waveform": {1: "samples"}, "lengths": {}}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Return the outputs with their dynamic axes."""
        axes = {0: "batch"} if self.batched else {}
        return dict.fromkeys(OUTPUTS[self.head_task], axes)

    def generate_dummy_inputs(self, framework: str = "pt", **shapes: Any) -> dict[str, Any]:
        """Return two padded clips for tracing, or one where the batch is fixed."""
        if self.batched:
            return {"waveform": torch.rand(2, 8000) - 0.5, "lengths": torch.tensor([8000, 5000])}
        return {"waveform": torch.rand(1, 8000) - 0.5, "lengths": torch.tensor([7900])}


def export_graph(form: InferenceForm) -> onnx_ir.Model:
    """Return the form's ONNX graph with its weights in memory."""
    config = WaveformOnnxConfig(form.config, task="audio-classification")
    config.batched = form.batched
    config.head_task = form.head.task
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Tracing warns wherever Python looks at a shape; the form does so on purpose, and the
        # verification that follows runs other shapes than the traced ones.
        warnings.simplefilter("ignore")
        path = Path(folder) / "float.onnx"
        # Optimum's repair of wrongly dynamic axes costs a whole session; verification checks axes.
        export(form, config, path, opset=OPSET, disable_dynamic_axes_fix=True)
        model = onnx_ir.load(path)
        onnx_ir.external_data.load_to_model(model)
    _separate_equal_weights(model.graph)
    IdentityEliminationPass()(model)
    # Shape inference loses what the form fixes.
    batch = "batch" if form.batched else 1
    for output in model.graph.outputs:
        embedding = output.name == "embedding"
        width = form.head.embedding_width if embedding else form.config.num_labels
        output.shape = onnx_ir.Shape([batch, width])
    return model


def _separate_equal_weights(graph: onnx_ir.Graph) -> None:
    """Give every weight its own initializer, under the name that it has in the form.

    The exporter keeps one of several equal weights and makes the others with Identity nodes. The
    int8 pass looks weights up by name and changes one without the others.
    """
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Identity" else None
        if source is None or source.const_value is None:
            continue
        joined = node.outputs[0]
        tensor = onnx_ir.tensor(source.const_value.numpy(), name=joined.name)
        own = onnx_ir.Value(
            name=joined.name, shape=source.shape, type=source.type, const_value=tensor
        )
        onnx_ir.convenience.replace_all_uses_with(joined, own)
        graph.remove(node, safe=True)
        graph.register_initializer(own)


def write_graph(model: onnx_ir.Model, path: Path, bundle: Bundle) -> None:
    """Write a graph with its metadata and, where its weights are large, external data."""
    model.metadata_props.update(bundle.metadata())
    model.graph.name = bundle.name
    model.doc_string = f"{bundle.name}: speech emotion recognition, made by voxmood"
    tensors = [value.const_value for value in model.graph.initializers.values()]
    weights = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    external = f"{path.name}.data" if weights > EXTERNAL_DATA_BYTES else None
    onnx_ir.save(model, path, external_data=external, alignment=ALIGNMENT)
