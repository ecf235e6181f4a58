"""The int8 graph: what was quantized, and how."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest

from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import synthetic_clips
from voxmood_export.graph import export_graph
from voxmood_export.int8.bias_correction import correct_bias, output_shift
from voxmood_export.int8.graph_pass import GELU_MINIMUM, ROW_ZERO, _QuantizedTensors, quantize
from voxmood_export.int8.recipe import choose_recipe
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import SMALL


@pytest.fixture(scope="module")
def graph(bundle: Path) -> onnx.GraphProto:
    return onnx.load(bundle / "model.int8.onnx").graph


def test_every_large_linear_layer_is_int8(graph: onnx.GraphProto) -> None:
    counts = Counter(node.op_type for node in graph.node)
    layers = SMALL["num_hidden_layers"]
    # six of the feature encoder, the projection, the positional conv, six in each layer
    second_terms = 4 + 1  # of the feature encoder's last four, and of the projection
    assert counts["MatMulIntegerToFloat"] == 6 + 1 + 1 + second_terms + 6 * layers
    assert counts["MultiHeadAttention"] == layers
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    in_float = [node.input[1] for node in products if node.input[1] in weights]
    assert in_float == [
        "front_end.0.factor.matrix",
        "front_end.0.product.matrix",
        "head.projector.matrix",
        "head.classifier.matrix",
    ]


def test_each_tensor_is_quantized_once(graph: onnx.GraphProto) -> None:
    quantized = [node.input[0] for node in graph.node if node.op_type == "DynamicQuantizeLinear"]
    quantized += [node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) == len(set(quantized))
    # query, key and value share one; so 4 in a layer, 6 of the feature encoder, 2 after it; and the
    # second terms of the last four of the feature encoder and of the projection
    assert len(quantized) == 4 * SMALL["num_hidden_layers"] + 6 + 2 + 5


def test_bytes_are_moved_not_floats(graph: onnx.GraphProto) -> None:
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Gather" and "/framing/" in node.name and "front_end.0" not in node.name:
            source = producers[node.input[0]]
            while source.op_type in ("Reshape", "Pad", "Transpose"):
                source = producers[source.input[0]]
            assert source.op_type in ("DynamicQuantizeLinear", "QuantizeLinear", "Shape"), node.name


def test_bias_correction_takes_out_the_mean_shift(checkpoint: Path, tmp_path: Path) -> None:
    form = InferenceForm(load_checkpoint(str(checkpoint)).model, do_normalize=True, batched=False)
    graph = export_graph(form)
    quantize(graph, choose_recipe(form), {})
    path = tmp_path / "model.onnx"
    onnx_ir.save(graph, path)
    clips = synthetic_clips(16000)
    before = output_shift(path, form, clips.calibration)
    correct_bias(graph, form.corrected[1], before)
    onnx_ir.save(graph, path)
    after = output_shift(path, form, clips.calibration)
    assert np.abs(after).max() < 1e-3 * np.abs(before).max()
    elsewhere = output_shift(path, form, clips.waveforms)
    assert np.linalg.norm(elsewhere) < 0.5 * np.linalg.norm(before)


@pytest.mark.parametrize("loudest", [-0.1, 0.05, 3.0, 6.3, 30.0, 500.0])
def test_gelu_is_quantized_by_a_step_that_its_minimum_is_a_multiple_of(loudest: float) -> None:
    x = onnx_ir.val("x", dtype=onnx_ir.DataType.FLOAT, shape=[1, "frames", 4])
    graph = onnx_ir.Graph([x], [], nodes=[], opset_imports={"": 20})
    quantized = _QuantizedTensors(graph, gelu_step=True)
    nodes, term = quantized._after_gelu(x)
    graph.extend(nodes)
    graph.outputs.extend(term)
    for value, kind in zip(term, ("UINT8", "FLOAT", "UINT8"), strict=True):
        value.dtype = onnx_ir.DataType[kind]
    model = onnx_ir.to_proto(onnx_ir.Model(graph, ir_version=10))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = np.linspace(-GELU_MINIMUM, loudest, 400, dtype=np.float32).reshape(1, 100, 4)
    values = np.minimum(values, np.float32(loudest))
    codes, scale, zero = session.run(None, {"x": values})
    decoded = (codes.astype(np.float64) - zero) * float(scale)
    assert np.abs(decoded - values).max() <= 0.501 * scale
    steps = GELU_MINIMUM / float(scale)
    if loudest < 40:  # beyond, even one step below zero would leave too few above it
        assert steps == pytest.approx(round(steps), abs=1e-3)
    assert scale <= 1.25 * max(loudest, 0.17) / 200 or loudest < 1


@pytest.mark.parametrize("count", [1, 2])
def test_quiet_rows_are_quantized_as_finely_as_loud_ones(count: int) -> None:
    x = onnx_ir.val("x", dtype=onnx_ir.DataType.FLOAT, shape=[1, "windows", 6])
    graph = onnx_ir.Graph([x], [], nodes=[], opset_imports={"": 21})
    same = onnx_ir.node("Identity", [x])  # a value is quantized after what made it
    graph.append(same)
    terms, rows = _QuantizedTensors(graph, gelu_step=True).per_row(same.outputs[0], 6, count)
    outputs = {rows: "FLOAT"} | {term.bytes: "UINT8" for term in terms}
    for value, kind in outputs.items():
        value.dtype = onnx_ir.DataType[kind]
    graph.outputs.extend(outputs)
    model = onnx_ir.to_proto(onnx_ir.Model(graph, ir_version=10))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    loudness = np.geomspace(1e-6, 1e3, 50)[:, None]
    values = (np.random.default_rng(0).normal(size=(50, 6)) * loudness).astype(np.float32)
    values = np.concatenate([values, np.zeros((1, 6), np.float32), np.abs(values), -values])
    scales, *codes = (
        output[0].astype(np.float64) for output in session.run(None, {"x": values[None]})
    )
    decoded = codes[0] - ROW_ZERO
    if count == 2:
        decoded += (codes[1] - 128) / 254
    step = 1 if count == 1 else 1 / 254
    assert (np.abs(decoded * scales - values) <= 0.501 * step * scales).all()
    widest = np.maximum(values.max(1) / (255 - int(ROW_ZERO)), -values.min(1) / ROW_ZERO)
    assert scales[:, 0] == pytest.approx(np.maximum(widest, 1e-30), rel=1e-6)
