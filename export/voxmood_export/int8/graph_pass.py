"""The int8 pass: the linear layers of a single clip's float graph become int8.

Activations are quantized dynamically to uint8, by default with one range for a tensor, or stay in
float; weights are quantized once to int8, with one scale for each column. Each tensor is quantized
once, however many layers take it, and before a Gather or Reshape lays it out for a layer, so that
bytes are moved and not floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from voxmood_export.int8.recipe import Activations, Recipe
from voxmood_export.int8.weights import QuantizedWeight, quantize_weight

MOVES = {"Reshape", "Gather", "Transpose", "Pad"}
"""Operators that move elements of their first input and compute nothing, so they can move bytes."""

GELU_MINIMUM = 0.16997
"""GELU is never below minus this; a third of its values are close to it."""

ZERO = np.uint8(128)
"""The code of 0.0 where a range is the same on both sides of it."""

ROW_ZERO = np.uint8(96)
"""The code of 0.0 in rows of GELU's values. Quiet rows reach as far below 0.0 as above it, loud
ones hardly below it. Of the codes from 64 to 128 this was the best (base size, 12 recordings)."""

MICROSOFT = "com.microsoft"
WITH_BLOCK_SIZE = 21  # the first opset whose QuantizeLinear takes a scale for each block


def quantize(model: ir.Model, recipe: Recipe, weights: Mapping[str, QuantizedWeight]) -> None:
    """Put the linear layers of a single clip's graph into int8, in place.

    Args:
        model: the graph.
        recipe: the layers to quantize, and how.
        weights: those that are rounded already, by name; the others go to the nearest values.
    """
    tensors = _QuantizedTensors(model.graph, gelu_step=recipe.gelu_step)
    for node in list(model.graph):
        weight = node.inputs[1] if node.op_type == "MatMul" else None
        activations = recipe.activations.get(weight.name or "") if weight is not None else None
        if activations is not None:
            _replace_matmul(model.graph, node, tensors, activations, weights)
    RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1
    if any("block_size" in node.attributes for node in model.graph):
        model.opset_imports[""] = WITH_BLOCK_SIZE


class _Term(NamedTuple):
    """A tensor in uint8. The float tensor is the sum of (bytes - zero) * scale over its terms."""

    bytes: ir.Value
    scale: ir.Value
    zero: ir.Value


class _QuantizedTensors:
    """Make the uint8 versions of the tensors that layers take, each when it is first needed."""

    def __init__(self, graph: ir.Graph, *, gelu_step: bool) -> None:
        self.graph = graph
        self.gelu_step = gelu_step
        self._terms: dict[tuple[ir.Value, int], list[_Term]] = {}

    def terms(self, value: ir.Value, count: int) -> list[_Term]:
        """Return a tensor as the sum of one or two terms."""
        if (value, count) not in self._terms:
            producer = value.producer()
            assert producer is not None, "the waveform itself is never quantized"
            if producer.op_type in MOVES:
                source = producer.inputs[0]
                assert source is not None
                terms = [self._moved(producer, term) for term in self.terms(source, count)]
            else:
                terms = self._quantized(producer, value, count)
            self._terms[value, count] = terms
        return self._terms[value, count]

    def _quantized(self, after: ir.Node, value: ir.Value, count: int) -> list[_Term]:
        if count == 2:
            (first,) = self.terms(value, 1)  # which other layers may take alone
            return [first, self._rest(value, first)]
        if after.op_type == "Gelu" and self.gelu_step:
            nodes, term = self._after_gelu(value)
        else:
            nodes = [ir.node("DynamicQuantizeLinear", [value], num_outputs=3)]
            term = _Term(*nodes[0].outputs)
        self.graph.insert_after(after, nodes)
        return [term]

    def _rest(self, value: ir.Value, term: _Term) -> _Term:
        """Return what a tensor's first term leaves."""
        rounded = ir.node("DequantizeLinear", list(term))
        rest = ir.node("Sub", [value, rounded.outputs[0]])
        # The rest after rounding is at most half a step, so its range is known.
        scale = ir.node("Div", [term.scale, self.constant("254", np.float32(254))])
        zero = self.constant("zero", ZERO)
        quantized = ir.node("QuantizeLinear", [rest.outputs[0], scale.outputs[0], zero])
        last = term.bytes.producer()
        assert last is not None
        self.graph.insert_after(last, [rounded, rest, scale, quantized])
        return _Term(quantized.outputs[0], scale.outputs[0], zero)

    def _after_gelu(self, value: ir.Value) -> tuple[list[ir.Node], _Term]:
        """Return nodes that quantize by a step of which GELU's minimum is a multiple.

        With any other step all values near the minimum are rounded the same way, by an error that
        changes with the loudest value of the clip.
        """
        minimum = self.constant("minimum", np.float32(GELU_MINIMUM))
        most = self.constant("255", np.float32(255))
        fewest = self.constant("1", np.float32(1))
        last = self.constant("last", np.array([-1]))
        nodes = [
            # Two steps: ONNX Runtime reduces rows on all threads, a whole tensor on one.
            rows := ir.node("ReduceMax", [value, last], {"keepdims": 0}),
            top := ir.node("ReduceMax", rows.outputs, {"keepdims": 0}),
            range_ := ir.node("Add", [top.outputs[0], minimum]),
            share := ir.node("Div", [minimum, range_.outputs[0]]),
            scaled := ir.node("Mul", [share.outputs[0], most]),
            whole := ir.node("Floor", scaled.outputs),
            steps := ir.node("Clip", [whole.outputs[0], fewest, most]),
            exact := ir.node("Div", [minimum, steps.outputs[0]]),
            # The step if even one of them below zero leaves too few above it.
            needed := ir.node("Div", [top.outputs[0], self.constant("254", np.float32(254))]),
            scale := ir.node("Max", [exact.outputs[0], needed.outputs[0]]),
            zero := ir.node("Cast", steps.outputs, {"to": ir.DataType.UINT8}),
            quantized := ir.node("QuantizeLinear", [value, scale.outputs[0], zero.outputs[0]]),
        ]
        return nodes, _Term(quantized.outputs[0], scale.outputs[0], zero.outputs[0])

    def per_row(self, value: ir.Value, width: int, count: int) -> tuple[list[_Term], ir.Value]:
        """Return a tensor [1, rows, width] as one or two terms, and a scale for each row.

        The rows' scales are [1, rows, 1]; the float tensor is the sum of the terms times them. All
        rows have the same zero, since MatMulIntegerToFloat takes one.
        """
        producer = value.producer()
        assert producer is not None, "the waveform itself is never quantized"
        last = self.constant("last", np.array([-1]))
        centered = producer.op_type == "LayerNormalization"  # else these are values of GELU
        row_zero, kind = (ZERO, "row") if centered else (ROW_ZERO, "window")
        below = self.constant(f"{kind}_below", -np.float32(row_zero))
        above = self.constant(f"{kind}_above", np.float32(255 - row_zero))
        least = self.constant("least", np.float32(1e-30))  # so that a row of zeros has a scale
        zero, one = self.constant(f"{kind}_zero", row_zero), self.constant("1", np.float32(1))
        nodes = [
            top := ir.node("ReduceMax", [value, last]),
            bottom := ir.node("ReduceMin", [value, last]),
            up := ir.node("Div", [top.outputs[0], above]),
            down := ir.node("Div", [bottom.outputs[0], below]),
            scale := ir.node("Max", [up.outputs[0], down.outputs[0], least]),
        ]
        if count == 1:
            fill = {"value": ir.tensor(np.array([row_zero]))}
            nodes += [
                shape := ir.node("Shape", scale.outputs),
                zeros := ir.node("ConstantOfShape", shape.outputs, fill),
                quantized := ir.node(
                    "QuantizeLinear",
                    [value, scale.outputs[0], zeros.outputs[0]],
                    {"axis": -1, "block_size": width},
                ),
            ]
        else:  # the rest needs the rows in steps
            nodes += [
                steps := ir.node("Div", [value, scale.outputs[0]]),
                quantized := ir.node("QuantizeLinear", [steps.outputs[0], one, zero]),
            ]
        self.graph.insert_after(producer, nodes)
        terms = [_Term(quantized.outputs[0], one, zero)]
        if count == 2:
            terms.append(self._rest(steps.outputs[0], terms[0]))
        return terms, scale.outputs[0]

    def constant(self, name: str, value: np.generic | npt.NDArray[np.generic]) -> ir.Value:
        """Return a constant of the graph, a scalar or a list."""
        name = f"int8.{name}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.asarray(value), name=name)
            self.graph.register_initializer(ir.Value(name=name, const_value=tensor))
        return self.graph.initializers[name]

    def _moved(self, mover: ir.Node, term: _Term) -> _Term:
        others = list(mover.inputs[1:])
        if mover.op_type == "Pad":
            # The code of 0.0, the only value that tensors are padded with here.
            others = [others[0], term.zero, *others[2:]]
        node = ir.Node("", mover.op_type, [term.bytes, *others], mover.attributes.values())
        self.graph.insert_after(mover, node)
        return term._replace(bytes=node.outputs[0])


def _replace_matmul(
    graph: ir.Graph,
    matmul: ir.Node,
    tensors: _QuantizedTensors,
    activations: Activations,
    weights: Mapping[str, QuantizedWeight],
) -> None:
    source, weight = matmul.inputs
    assert source is not None
    assert weight is not None
    assert weight.const_value is not None
    name = weight.name or ""
    matrix, column_scales = weights.get(name) or quantize_weight(weight.const_value.numpy())
    last, bias = _absorbed_bias(matmul)

    def constant(suffix: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.Value(name=f"{name}.{suffix}", const_value=ir.tensor(array))
        graph.register_initializer(value)
        return value

    def weights_and_zero(prefix: str = "") -> tuple[ir.Value, ir.Value]:
        """Return the int8 weights of one node and their zero point, which no other node shares.

        On CPUs that need uint8 weights, ONNX Runtime converts both for each node and fails on
        shared ones. Releases before 1.30 also fail without a zero point.
        """
        zero = np.array(0, np.int8)
        return constant(f"{prefix}int8", matrix), constant(f"{prefix}zero", zero)

    scales = constant("scale", column_scales)
    nodes: list[ir.Node] = []
    if activations is Activations.FLOAT:
        # ONNX Runtime multiplies these constants once, when it loads the graph.
        floats = ir.node("Cast", [constant("int8", matrix)], {"to": ir.DataType.FLOAT})
        scaled = ir.node("Mul", [floats.outputs[0], scales])
        graph.insert_before(matmul, [floats, scaled])
        matmul.replace_input_with(1, scaled.outputs[0])
        return
    count = 2 if activations.has_two_terms else 1
    rows: ir.Value | None = None
    if activations.has_row_scales:
        last, bias = matmul, None  # a bias comes after the rows' scales
        terms, rows = tensors.per_row(source, matrix.shape[0], count)
    else:
        terms = tensors.terms(source, count)
    for term in terms:
        values, zero = weights_and_zero("rest." if nodes else "")
        added = None if nodes else bias
        inputs = [term.bytes, values, term.scale, scales, term.zero, zero, added]
        nodes.append(ir.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))
        nodes[-1].name = f"{matmul.name}/rest" if len(nodes) > 1 else matmul.name
    if len(nodes) > 1:
        nodes.append(ir.node("Add", [node.outputs[0] for node in nodes]))
        nodes[-1].name = f"{matmul.name}/terms"
    if rows is not None:
        nodes.append(ir.node("Mul", [nodes[-1].outputs[0], rows]))
        nodes[-1].name = f"{matmul.name}/windows"
    graph.insert_after(last, nodes)
    ir.convenience.replace_all_uses_with(last.outputs[0], nodes[-1].outputs[0])


def _absorbed_bias(matmul: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """Return the last node that the int8 nodes replace, and the bias that they absorb.

    They absorb a bias if adding one constant vector is the only use of the matmul.
    """
    uses = list(matmul.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        add = uses[0].node
        other = add.inputs[1 - uses[0].idx]
        if other is not None and other.const_value is not None and len(other.shape or ()) == 1:
            return add, other
    return matmul, None
