"""The floor: the int8 products of a network and nothing else, in one ONNX graph.

What the same engine takes for them alone is what no other arrangement of the rest can go below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxmood.audio import Waveform
from voxmood.bundle.description import model_file
from voxmood_bench.profile import profile

PRODUCT = "MatMulIntegerToFloat"


def write_floor(bundle: Path, target: Path, waveform: Waveform, threads: int) -> None:
    """Writes the graph of a bundle's int8 products, in the shapes they have for a waveform.

    Every product keeps a random weight of its own, so that as many bytes are read as in the
    network. Products of one input shape share an input. Of each result one row is kept: enough
    that no product is dropped, and little enough to cost nothing.
    """
    network = onnx.load(str(bundle / model_file("int8")), load_external_data=False).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in network.initializer}
    shapes = {
        node.name: node.shape
        for node in profile(bundle, "int8", waveform, threads=threads, runs=1).nodes
    }
    random = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "scale": np.float32(0.01),
        "zero": np.uint8(128),
        "first": np.int64(0),
    }
    nodes: list[onnx.NodeProto] = []
    inputs: dict[str, onnx.ValueInfoProto] = {}
    outputs: list[onnx.ValueInfoProto] = []
    for product in (node for node in network.node if node.op_type == PRODUCT):
        left, right = shapes[product.name], weights[product.input[1]]
        source = "x_" + "_".join(map(str, left))
        inputs[source] = helper.make_tensor_value_info(source, TensorProto.UINT8, left)
        name = f"product_{len(outputs)}"
        constants[f"{name}_weight"] = random.integers(-127, 128, right, np.int8)
        columns = (right[-1],) if len(right) == 2 else (right[0], 1, right[-1])
        scales = "scales_" + "_".join(map(str, columns))
        constants[scales] = np.full(columns, 0.01, np.float32)
        nodes.append(
            helper.make_node(
                PRODUCT,
                [source, f"{name}_weight", "scale", scales, "zero"],
                [name],
                name,
                domain="com.microsoft",
            )
        )
        nodes.append(helper.make_node("Gather", [name, "first"], [f"{name}_row"], axis=1))
        outputs.append(helper.make_tensor_value_info(f"{name}_row", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "floor",
        list(inputs.values()),
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(target))
