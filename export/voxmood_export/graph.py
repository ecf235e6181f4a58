"""Float graphs: an inference form becomes an ONNX graph, and goes onto the disk."""

from __future__ import annotations

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import onnx_ir
import torch
from onnx_ir.passes.common import IdentityEliminationPass

from voxmood.bundle.description import Bundle
from voxmood_export.calibration.scaling import set_temperature
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.network.signature import Signature

OPSET = 20  # the first with Gelu as one operator, the last that the TorchScript exporter writes
EXTERNAL_DATA_BYTES = 64 << 20  # larger weights get a file of their own, which is mapped
ALIGNMENT = 64 << 10  # of external data, so that every platform can map it


def export_graph(form: InferenceForm) -> onnx_ir.Model:
    """Return the form's ONNX graph with its weights in memory."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Tracing warns wherever Python looks at a shape; the form does so on purpose, and the
        # verification that follows runs other shapes than the traced ones.
        warnings.simplefilter("ignore")
        path = Path(folder) / "float.onnx"
        _convert(form, path)
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
    if form.head.task != "regression":
        set_temperature(model.graph, 1.0)
    return model


def has_optimum() -> bool:
    """Return whether Optimum is installed; its releases so far need transformers before 4.58."""
    return find_spec("optimum") is not None and find_spec("optimum.exporters.onnx") is not None


def _convert(form: InferenceForm, path: Path) -> None:
    """Write a form's ONNX graph, by Optimum where it is installed; both ways write the same."""
    signature = Signature(form.batched, form.head.task)
    if has_optimum():
        from voxmood_export.optimum import convert

        convert(form, signature, path, OPSET)
        return
    torch.onnx.export(
        form.eval(),
        (signature.example(),),  # by name
        str(path),
        input_names=list(signature.inputs),
        output_names=list(signature.outputs),
        dynamic_axes=signature.inputs | signature.outputs,
        opset_version=OPSET,
        dynamo=False,
    )


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
