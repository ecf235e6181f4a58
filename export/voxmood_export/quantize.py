"""The int8 graph: the single-clip float graph with its products in int8.

Activations are quantised dynamically, one range for a tensor, to uint8; weights once, one scale
for a column, to int8. Each tensor is quantised once, however many products take it, and where it
was (before a Gather or Reshape lays it out for a product), so that bytes are moved and not floats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

KEPT_FLOAT = ("front_end.0.", "head.")
"""Products that stay in float: of a window of samples, and of one pooled vector; neither is large,
and the first meets the recording's full dynamic range."""

MOVES = {"Reshape", "Gather", "Transpose", "Pad"}
"""Operators that move elements of their first input and compute nothing, so bytes will do."""

MICROSOFT = "com.microsoft"


def quantize(model: ir.Model) -> None:
    """Puts every large product of a single-clip graph into int8, in place."""
    quantised = _QuantisedValues(model.graph)
    for node in list(model.graph):
        if node.op_type == "MatMul" and is_quantisable(node):
            _replace_product(model.graph, node, quantised)
    RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1


def is_quantisable(node: ir.Node) -> bool:
    """Whether a MatMul is by a weight and not one of those kept in float."""
    weight = node.inputs[1]
    return (
        weight is not None
        and weight.const_value is not None
        and not (weight.name or "").startswith(KEPT_FLOAT)
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


class _QuantisedValues:
    """The uint8 twin of every float value that a product takes, made when first asked for."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.twins: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}

    def of(self, value: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The value in uint8, its scale and its zero point."""
        if value not in self.twins:
            producer = value.producer()
            assert producer is not None, "the waveform itself is never quantised"
            if producer.op_type in MOVES:
                self.twins[value] = self._moved(producer)
            else:
                node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3)
                self.graph.insert_after(producer, node)
                quantised, scale, zero = node.outputs
                self.twins[value] = quantised, scale, zero
        return self.twins[value]

    def _moved(self, mover: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value]:
        source, *others = mover.inputs
        assert source is not None
        quantised, scale, zero = self.of(source)
        if mover.op_type == "Pad":
            # The byte that stands for 0.0; a value is padded with nothing else here.
            others = [others[0], zero, *others[2:]]
        node = ir.Node("", mover.op_type, [quantised, *others], mover.attributes.values())
        self.graph.insert_after(mover, node)
        return node.outputs[0], scale, zero


def _replace_product(graph: ir.Graph, product: ir.Node, quantised: _QuantisedValues) -> None:
    source, weight = product.inputs
    assert source is not None
    assert weight is not None
    assert weight.const_value is not None
    values, scale, zero = quantised.of(source)
    matrix, column_scales = quantize_weight(weight.const_value.numpy())
    last, bias = _absorbed_bias(product)

    def constant(suffix: str, array: npt.NDArray[np.generic]) -> ir.Value:
        value = ir.Value(name=f"{weight.name}.{suffix}", const_value=ir.tensor(array))
        graph.register_initializer(value)
        return value

    weights, scales = constant("int8", matrix), constant("scale", column_scales)
    node = ir.node(
        "MatMulIntegerToFloat",
        [values, weights, scale, scales, zero, None, bias],
        domain=MICROSOFT,
    )
    node.name = product.name
    graph.insert_after(last, node)
    ir.convenience.replace_all_uses_with(last.outputs[0], node.outputs[0])


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
