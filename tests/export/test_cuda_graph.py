"""A float graph needs no copies between CPU and GPU, so that CUDA graphs of it can be captured.

ONNX Runtime refuses to capture a network with such copies. Whether it inserts any can be told
without a GPU, by the rule of its `fallback_cpu_capability.cc`: what is computed from shapes stays
on the CPU, unless it meets a tensor of the GPU.
"""

from pathlib import Path

import onnx
import onnxruntime
import pytest
from variations import first_of

from voxmood_export import export_bundle
from voxmood_export.testing import BASE, LARGE, SMALL, Settings, make_checkpoint

READ_ON_CPU = {
    "ConstantOfShape": {0},
    "Expand": {1},
    "Pad": {1, 2, 3},
    "Range": {0, 1, 2},
    "ReduceSum": {1},
    "Reshape": {1},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Squeeze": {1},
    "Tile": {1},
    "Unsqueeze": {1},
}
"""The inputs that the operators of the CUDA provider read on the CPU."""

HALF = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def copies(path: Path) -> list[str]:
    """Return the inputs of nodes for which a tensor is copied from one processor to the other."""
    graph = onnx.load(path).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    constants = {tensor.name for tensor in graph.initializer} | {
        node.output[0] for node in graph.node if node.op_type == "Constant"
    }
    free = constants | {value.name for value in graph.input} | {""}
    on_cpu: set[str] = set()
    found = []
    for node in graph.node:
        read_on_cpu = READ_ON_CPU.get(node.op_type, set())
        if node.op_type in ("Shape", "Size") or (
            on_cpu.intersection(node.input)
            and all(
                name in free or (name in on_cpu and index not in read_on_cpu)
                for index, name in enumerate(node.input)
            )
            and not any(types.get(name) in HALF for name in node.input)
        ):
            on_cpu.update(node.output)
            continue
        for index, name in enumerate(node.input):
            if name not in free and (name in on_cpu) != (index in read_on_cpu):
                found.append(f"{node.name}, input {index}")
    return found


@pytest.mark.parametrize("settings", first_of([LARGE | SMALL, BASE | SMALL]))
def test_nothing_is_copied_between_the_processors(tmp_path: Path, settings: Settings) -> None:
    make_checkpoint(tmp_path / "checkpoint", settings)
    export_bundle(tmp_path / "checkpoint", tmp_path / "bundle", precisions=["fp32", "fp16"])
    for precision in ("fp32", "fp16"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / f"{precision}.onnx")
        onnxruntime.InferenceSession(
            tmp_path / "bundle" / f"model.{precision}.onnx",
            options,
            providers=["CPUExecutionProvider"],
        )
        assert copies(tmp_path / f"{precision}.onnx") == []
