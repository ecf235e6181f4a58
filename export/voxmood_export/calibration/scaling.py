"""What stands in a graph between the last layer and the answers, and is set by a calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

TEMPERATURE, SCALES, OFFSETS = "temperature", "scales", "offsets"
"""The names of the initializers."""


def set_temperature(graph: onnx_ir.Graph, temperature: float) -> None:
    """Have a graph divide its logits by a temperature before its softmax or sigmoid.

    The output `logits` stays as it is.

    Args:
        graph: a graph with the output `probabilities`. If it divides them already, which graphs of
            older releases do not, only the initializer is changed.
        temperature: what to divide by; 1 changes nothing.
    """
    divisor = _initializer(graph, TEMPERATURE, [temperature])
    (output,) = (value for value in graph.outputs if value.name == "probabilities")
    last = output.producer()  # Softmax or Sigmoid
    assert last is not None
    logits = last.inputs[0]
    assert logits is not None
    if divisor in _inputs_of(logits):
        return
    node = onnx_ir.node("Div", [logits, divisor], name=f"/{TEMPERATURE}/Div")
    _shape_like(node.outputs[0], logits)
    node.outputs[0].name = f"/{TEMPERATURE}/Div_output_0"
    graph.insert_before(last, node)
    last.replace_input_with(0, node.outputs[0])


def set_affine(graph: onnx_ir.Graph, scales: Sequence[float], offsets: Sequence[float]) -> None:
    """Have a graph multiply each of its values by a scale, and then add an offset.

    Args:
        graph: a graph with the output `values`. If it has scales and offsets already, only these
            initializers are changed.
        scales: a scale for each value.
        offsets: an offset for each value.
    """
    factors = _initializer(graph, SCALES, scales)
    terms = _initializer(graph, OFFSETS, offsets)
    (place,) = (place for place, value in enumerate(graph.outputs) if value.name == "values")
    found = graph.outputs[place]
    if terms in _inputs_of(found):
        return
    found.name = "values_before_calibration"
    scaled = onnx_ir.node("Mul", [found, factors], name=f"/{SCALES}/Mul")
    shifted = onnx_ir.node("Add", [scaled.outputs[0], terms], name=f"/{OFFSETS}/Add")
    for node, name in ((scaled, f"/{SCALES}/Mul_output_0"), (shifted, "values")):
        _shape_like(node.outputs[0], found)
        node.outputs[0].name = name
    graph.extend([scaled, shifted])
    graph.outputs[place] = shifted.outputs[0]


def _initializer(graph: onnx_ir.Graph, name: str, numbers: Sequence[float]) -> onnx_ir.Value:
    """Return the initializer of a name, which then holds these numbers as float32."""
    tensor = onnx_ir.tensor(np.array(numbers, np.float32), name=name)
    if name in graph.initializers:
        graph.initializers[name].const_value = tensor
        return graph.initializers[name]
    value = onnx_ir.Value(
        name=name,
        shape=onnx_ir.Shape([len(numbers)]),
        type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _inputs_of(value: onnx_ir.Value) -> Sequence[onnx_ir.Value | None]:
    producer = value.producer()
    return producer.inputs if producer else ()


def _shape_like(value: onnx_ir.Value, other: onnx_ir.Value) -> None:
    value.shape, value.type = other.shape, other.type
