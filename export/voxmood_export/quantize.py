"""The int8 graph: the single-clip float graph with its products in int8.

Activations are quantised dynamically, one range for a tensor, to uint8; weights once, one scale
for a column, to int8. Each tensor is quantised once, however many products take it, and where it
was (before a Gather or Reshape lays it out for a product), so that bytes are moved and not floats.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

KEPT_FLOAT = re.compile(r"front_end\.0\.|head\.|.*\.gate\.")
"""Products that stay in float: of a window of samples, which meets the recording's full dynamic
range, of one pooled vector, and WavLM's gates. None is large."""

MOVES = {"Reshape", "Gather", "Transpose", "Pad"}
"""Operators that move elements of their first input and compute nothing, so bytes will do."""

GROUP_NORM_FRONT_END = re.compile(r"front_end\.|projection\.")
"""Products that need more than 8 bits where no norm follows each convolution: the range of a tensor
is then that of its loudest moment, and the quiet ones drown in its rounding."""

MICROSOFT = "com.microsoft"


def quantize(model: ir.Model, two_terms: re.Pattern[str] | None = None) -> None:
    """Puts every large product of a single-clip graph into int8, in place.

    Args:
        model: the graph.
        two_terms: a pattern of the weights whose activations are quantised to 16 bits, as the sum
            of two uint8 terms, for twice the time of those products.
    """
    quantised = _QuantisedValues(model.graph)
    for node in list(model.graph):
        if node.op_type == "MatMul" and is_quantisable(node):
            _replace_product(model.graph, node, quantised, two_terms)
    RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1


def is_quantisable(node: ir.Node) -> bool:
    """Whether a MatMul is by a weight and not one of those kept in float."""
    weight = node.inputs[1]
    return (
        weight is not None
        and weight.const_value is not None
        and not KEPT_FLOAT.match(weight.name or "")
    )


def quantize_weight(
    matrix: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 with a scale for each column.

    Args:
        matrix: [..., in, out].

    Returns:
        int8 values of -127 to 127 of the same shape, and their scales: [out], or [..., 1, out] for
        a stack of matrices.
    """
    scale = np.abs(matrix).max(axis=-2, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1  # a column of zeros stays one
    values = np.rint(matrix / scale).astype(np.int8)
    return values, scale[0] if matrix.ndim == 2 else scale


class _Term(NamedTuple):
    """A value in uint8; the float value is the sum of its terms' (bytes - zero) * scale."""

    bytes: ir.Value
    scale: ir.Value
    zero: ir.Value


class _QuantisedValues:
    """The uint8 twins of the float values that products take, made when first asked for."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
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
        terms: list[_Term] = []
        for _ in range(count):
            if terms:  # what the term before left over
                rounded = ir.node("DequantizeLinear", list(terms[-1]))
                rest = ir.node("Sub", [value, rounded.outputs[0]])
                self.graph.insert_after(after, [rounded, rest])
                after, value = rest, rest.outputs[0]
            quantise = ir.node("DynamicQuantizeLinear", [value], num_outputs=3)
            self.graph.insert_after(after, quantise)
            after = quantise
            terms.append(_Term(*quantise.outputs))
        return terms

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
    two_terms: re.Pattern[str] | None,
) -> None:
    source, weight = product.inputs
    assert source is not None
    assert weight is not None
    assert weight.const_value is not None
    matrix, column_scales = quantize_weight(weight.const_value.numpy())
    last, bias = _absorbed_bias(product)

    def constant(suffix: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.Value(name=f"{weight.name}.{suffix}", const_value=ir.tensor(array))
        graph.register_initializer(value)
        return value

    weights, scales = constant("int8", matrix), constant("scale", column_scales)
    nodes: list[ir.Node] = []
    count = 2 if two_terms and two_terms.match(weight.name or "") else 1
    for term in quantised.terms(source, count):
        inputs = [term.bytes, weights, term.scale, scales, term.zero, None, None if nodes else bias]
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
