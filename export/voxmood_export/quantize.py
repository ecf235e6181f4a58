"""The int8 graph: the single-clip float graph with its products in int8.

Activations are quantised dynamically, one range for a tensor, to uint8; weights once, one scale
for a column, to int8. Each tensor is quantised once, however many products take it, and where it
was (before a Gather or Reshape lays it out for a product), so that bytes are moved and not floats.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from transformers import PretrainedConfig

from voxmood_export.rounding import round_weight

KEPT_FLOAT = re.compile(r"front_end\.0\.|head\.|.*\.gate\.")
"""Products that stay in float: of a window of samples, which meets the recording's full dynamic
range, of one pooled vector, and WavLM's gates. None is large."""

MOVES = {"Reshape", "Gather", "Transpose", "Pad"}
"""Operators that move elements of their first input and compute nothing, so bytes will do."""


@dataclass(frozen=True)
class Finer:
    """Which products' activations are quantised finer than by one range for the whole tensor.

    Attributes:
        two_terms: matches weights whose activations are the sum of two uint8 terms, 16 bits, for
            twice the time of those products.
        by_window: matches weights each row of whose activations has a range of its own.
        gelu_step: quantise what comes out of GELU by a step of which GELU's minimum is a multiple.
    """

    two_terms: re.Pattern[str]
    by_window: re.Pattern[str]
    gelu_step: bool = True


FINER_LAYER_NORM = Finer(re.compile(r"front_end\.[3-9]\.|projection\."), re.compile(r"(?!)"))
"""Where a norm follows each convolution. What comes last in the front end is small, and the whole
encoder amplifies its error."""

FINER_GROUP_NORM = Finer(re.compile(r"projection\."), re.compile(r"front_end\."))
"""Where none does: the range of a tensor is then that of its loudest moment, and the quiet ones,
which the encoder's first norm makes as loud, would drown in its rounding."""

GELU_MINIMUM = 0.16997
"""GELU is never below minus this; a third of its values lie close to it."""

QuantizedWeight: TypeAlias = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]
"""int8 values and their scales, as `quantize_weight` returns them."""

ZERO = np.uint8(128)
"""Stands for 0.0 where a range is the same on both sides of it."""

WINDOW_ZERO = np.uint8(96)
"""Stands for 0.0 in windows of GELU's values: the quiet ones reach as far below it as above, the
loud ones hardly below it. Between 64 and 128 it was the best (base size, 12 recordings)."""

MICROSOFT = "com.microsoft"


def finer_in(config: PretrainedConfig) -> Finer:
    """What a network of this configuration needs finer."""
    finer = FINER_GROUP_NORM if config.feat_extract_norm == "group" else FINER_LAYER_NORM
    if not getattr(config, "feat_proj_layer_norm", True):
        # No norm between the front end and the encoder's first, which makes quiet moments as loud
        # as others: the positional convolution meets a recording's full dynamic range.
        two_terms = re.compile(rf"{finer.two_terms.pattern}|positional\.")
        finer = replace(finer, two_terms=two_terms)
    return finer


def quantize(
    model: ir.Model,
    finer: Finer,
    weights: Mapping[str, QuantizedWeight],
    in_float: Collection[str] = (),
) -> None:
    """Puts every large product of a single-clip graph into int8, in place.

    Args:
        model: the graph.
        finer: products whose activations are quantised finer than the others'.
        weights: those that are rounded already, by name; the others go to the nearest.
        in_float: names of weights whose products stay in float.
    """
    quantised = _QuantisedValues(model.graph, finer.gelu_step)
    for node in list(model.graph):
        if node.op_type == "MatMul" and is_quantisable(node, in_float):
            _replace_product(model.graph, node, quantised, finer, weights)
    RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1
    if any("block_size" in node.attributes for node in model.graph):
        model.opset_imports[""] = 21  # the first whose QuantizeLinear takes a scale for each block


def is_quantisable(node: ir.Node, in_float: Collection[str] = ()) -> bool:
    """Whether a MatMul is by a weight and not one of those kept in float."""
    weight = node.inputs[1]
    return (
        weight is not None
        and weight.const_value is not None
        and weight.name not in in_float
        and not KEPT_FLOAT.match(weight.name or "")
    )


def quantize_weight(
    matrix: npt.NDArray[np.float32], moments: npt.NDArray[np.float64] | None = None
) -> QuantizedWeight:
    """Symmetric int8 with a scale for each column.

    Args:
        matrix: [..., in, out].
        moments: [in, in] of its inputs, to round a single matrix with; None rounds to the nearest.

    Returns:
        int8 values of -127 to 127 of the same shape, and their scales: [out], or [..., 1, out] for
        a stack of matrices.
    """
    scale = np.abs(matrix).max(axis=-2, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1  # a column of zeros stays one
    if moments is None:
        values = np.rint(matrix / scale).astype(np.int8)
    else:
        values = round_weight(matrix, scale, moments)
    return values, scale[0] if matrix.ndim == 2 else scale


class _Term(NamedTuple):
    """A value in uint8; the float value is the sum of its terms' (bytes - zero) * scale."""

    bytes: ir.Value
    scale: ir.Value
    zero: ir.Value


class _QuantisedValues:
    """The uint8 twins of the float values that products take, made when first asked for."""

    def __init__(self, graph: ir.Graph, gelu_step: bool = True) -> None:
        self.graph = graph
        self.gelu_step = gelu_step
        self.twins: dict[tuple[ir.Value, int], list[_Term]] = {}

    def terms(self, value: ir.Value, count: int) -> list[_Term]:
        """The value as a sum of one or two terms."""
        if (value, count) not in self.twins:
            producer = value.producer()
            assert producer is not None, "the waveform itself is never quantised"
            if producer.op_type in MOVES:
                source = producer.inputs[0]
                assert source is not None
                terms = [self._moved(producer, term) for term in self.terms(source, count)]
            else:
                terms = self._quantised(producer, value, count)
            self.twins[value, count] = terms
        return self.twins[value, count]

    def _quantised(self, after: ir.Node, value: ir.Value, count: int) -> list[_Term]:
        if after.op_type == "Gelu" and self.gelu_step:
            nodes, term = self._after_gelu(value)
        else:
            nodes = [ir.node("DynamicQuantizeLinear", [value], num_outputs=3)]
            term = _Term(*nodes[0].outputs)
        terms = [term]
        if count == 2:
            nodes += [rounded := ir.node("DequantizeLinear", list(term))]
            nodes += [rest := ir.node("Sub", [value, rounded.outputs[0]])]
            # What rounding left over is at most half a step, so no range has to be looked for.
            nodes += [scale := ir.node("Div", [term.scale, self.constant("254", np.float32(254))])]
            zero = self.constant("zero", ZERO)
            inputs = [rest.outputs[0], scale.outputs[0], zero]
            nodes += [quantise := ir.node("QuantizeLinear", inputs)]
            terms.append(_Term(quantise.outputs[0], scale.outputs[0], zero))
        self.graph.insert_after(after, nodes)
        return terms

    def _after_gelu(self, value: ir.Value) -> tuple[list[ir.Node], _Term]:
        """Quantises by a step of which GELU's minimum is a multiple.

        Else everything near the minimum is rounded the same way, by an error that changes with the
        loudest value of the clip.
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
            # Where even one step below zero leaves too few above it.
            needed := ir.node("Div", [top.outputs[0], self.constant("254", np.float32(254))]),
            scale := ir.node("Max", [exact.outputs[0], needed.outputs[0]]),
            zero := ir.node("Cast", steps.outputs, {"to": ir.DataType.UINT8}),
            quantise := ir.node("QuantizeLinear", [value, scale.outputs[0], zero.outputs[0]]),
        ]
        return nodes, _Term(quantise.outputs[0], scale.outputs[0], zero.outputs[0])

    def by_window(self, value: ir.Value, width: int) -> _Term:
        """A value [1, windows, width] with a scale for each window, [1, windows, 1].

        One zero for all, since a product takes one.
        """
        producer = value.producer()
        assert producer is not None, "the waveform itself is never quantised"
        last = self.constant("last", np.array([-1]))
        below = self.constant("below", -np.float32(WINDOW_ZERO))
        above = self.constant("above", np.float32(255 - WINDOW_ZERO))
        least = self.constant("least", np.float32(1e-30))  # else a window of zeros had no scale
        zero = self.constant("window_zero", WINDOW_ZERO)
        fill = {"value": ir.tensor(np.array([WINDOW_ZERO]))}
        nodes = [
            top := ir.node("ReduceMax", [value, last]),
            bottom := ir.node("ReduceMin", [value, last]),
            up := ir.node("Div", [top.outputs[0], above]),
            down := ir.node("Div", [bottom.outputs[0], below]),
            scale := ir.node("Max", [up.outputs[0], down.outputs[0], least]),
            shape := ir.node("Shape", scale.outputs),
            zeros := ir.node("ConstantOfShape", shape.outputs, fill),
            quantise := ir.node(
                "QuantizeLinear",
                [value, scale.outputs[0], zeros.outputs[0]],
                {"axis": -1, "block_size": width},
            ),
        ]
        self.graph.insert_after(producer, nodes)
        return _Term(quantise.outputs[0], scale.outputs[0], zero)

    def constant(self, name: str, value: np.generic | npt.NDArray[np.generic]) -> ir.Value:
        """A scalar or a list of the graph."""
        name = f"int8.{name}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.asarray(value), name=name)
            self.graph.register_initializer(ir.Value(name=name, const_value=tensor))
        return self.graph.initializers[name]

    def _moved(self, mover: ir.Node, term: _Term) -> _Term:
        others = list(mover.inputs[1:])
        if mover.op_type == "Pad":
            # The byte that stands for 0.0; a value is padded with nothing else here.
            others = [others[0], term.zero, *others[2:]]
        node = ir.Node("", mover.op_type, [term.bytes, *others], mover.attributes.values())
        self.graph.insert_after(mover, node)
        return term._replace(bytes=node.outputs[0])


def _replace_product(
    graph: ir.Graph,
    product: ir.Node,
    quantised: _QuantisedValues,
    finer: Finer,
    weights: Mapping[str, QuantizedWeight],
) -> None:
    source, weight = product.inputs
    assert source is not None
    assert weight is not None
    assert weight.const_value is not None
    name = weight.name or ""
    rounded = weights.get(name) or quantize_weight(weight.const_value.numpy())
    matrix, column_scales = rounded
    last, bias = _absorbed_bias(product)
    inputs: list[ir.Value | None]

    def constant(suffix: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.Value(name=f"{name}.{suffix}", const_value=ir.tensor(array))
        graph.register_initializer(value)
        return value

    def weights_and_zero(prefix: str = "") -> tuple[ir.Value, ir.Value]:
        """The int8 weights of one product and their zero point, shared with no other product.

        Where CPUs need uint8 weights, ONNX Runtime converts both for each product, and fails on
        what two of them share. Releases before 1.30 fail without a zero point, too.
        """
        zero = np.array(0, np.int8)
        return constant(f"{prefix}int8", matrix), constant(f"{prefix}zero", zero)

    scales = constant("scale", column_scales)
    nodes: list[ir.Node] = []
    if finer.by_window.match(name):
        last, bias = product, None  # a bias comes after the windows' scales
        windows = quantised.by_window(source, matrix.shape[0])
        one = quantised.constant("1", np.float32(1))
        values, zero = weights_and_zero()
        inputs = [windows.bytes, values, one, scales, windows.zero, zero]
        nodes.append(ir.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT, name=product.name))
        nodes.append(ir.node("Mul", [nodes[0].outputs[0], windows.scale]))
        nodes[-1].name = f"{product.name}/windows"
    else:
        for term in quantised.terms(source, 2 if finer.two_terms.match(name) else 1):
            values, zero = weights_and_zero("rest." if nodes else "")
            added = None if nodes else bias
            inputs = [term.bytes, values, term.scale, scales, term.zero, zero, added]
            nodes.append(ir.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT))
            nodes[-1].name = f"{product.name}/rest" if len(nodes) > 1 else product.name
        if len(nodes) > 1:
            nodes.append(ir.node("Add", [node.outputs[0] for node in nodes]))
            nodes[-1].name = f"{product.name}/terms"
    graph.insert_after(last, nodes)
    ir.convenience.replace_all_uses_with(last.outputs[0], nodes[-1].outputs[0])


def _absorbed_bias(product: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The last node that the int8 product stands for, and the bias that it takes over.

    A bias is taken over where adding one constant vector is all that happens to the product.
    """
    uses = list(product.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        add = uses[0].node
        other = add.inputs[1 - uses[0].idx]
        if other is not None and other.const_value is not None and len(other.shape or ()) == 1:
            return add, other
    return product, None
