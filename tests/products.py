"""The operator that int8 graphs consist of, alone in a graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


def product_graph(weights: npt.NDArray[np.int8], rows: int) -> onnx.ModelProto:
    """Return a graph that multiplies a uint8 matrix [rows, in] by weights [in, out]."""
    node = helper.make_node(
        "MatMulIntegerToFloat",
        ["a", "b", "one", "one", "", "zero"],
        ["product"],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, (rows, weights.shape[0]))],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, (rows, weights.shape[1]))],
        [
            numpy_helper.from_array(weights, "b"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
