"""A lower bound on time: the int8 matmuls of a network and nothing else, in one ONNX graph.

No arrangement of the rest of the network can take less than the same engine takes for the matmuls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxmood.audio import Waveform
from voxmood.bundle.description import model_file
from voxmood_bench.engines.profiler import profile

MATMUL = "MatMulIntegerToFloat"


def write_lower_bound(bundle: Path, target: Path, waveform: Waveform, threads: int) -> None:
    """Write the graph of a bundle's int8 matmuls, in the shapes they have for a waveform.

    Every matmul keeps a random weight of its own, so that as many bytes are read as in the
    network. Matmuls of one input shape share an input. One row of each result is kept: this is
    enough that no matmul is dropped, and little enough to cost nothing.

    Args:
        bundle: its folder.
        target: the ONNX file to write.
        waveform: float32 [samples], at the bundle's rate.
        threads: how many the run may use that finds the shapes.
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
    for matmul in (node for node in network.node if node.op_type == MATMUL):
        left, right = shapes[matmul.name], weights[matmul.input[1]]
        source = "x_" + "_".join(map(str, left))
        inputs[source] = helper.make_tensor_value_info(source, TensorProto.UINT8, left)
        name = f"matmul_{len(outputs)}"
        constants[f"{name}_weight"] = random.integers(-127, 128, right, np.int8)
        columns = (right[-1],) if len(right) == 2 else (right[0], 1, right[-1])
        scales = "scales_" + "_".join(map(str, columns))
        constants[scales] = np.full(columns, 0.01, np.float32)
        nodes.append(
            helper.make_node(
                MATMUL,
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
        "lower bound",
        list(inputs.values()),
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(target))
