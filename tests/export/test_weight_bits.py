"""Weights of 7 bits: int8 that x86 without VNNI computes exactly and fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import voxmood
from voxmood.cli import main
from voxmood_export.testing import SMALL

MOST_IN_16_BITS = 2**15 - 1
LARGEST_ACTIVATION = 255


@pytest.fixture(scope="module")
def seven_bits(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("seven-bits") / "bundle"
    assert main(["export", str(checkpoint), str(output), "--weights", "7"]) == 0
    return output


def weights(bundle: Path) -> dict[str, npt.NDArray[np.int64]]:
    """Return the int8 matrices of a bundle by name."""
    return {
        each.name: numpy_helper.to_array(each).astype(np.int64)
        for each in onnx.load(bundle / "model.int8.onnx").graph.initializer
        if each.data_type == TensorProto.INT8 and len(each.dims) == 2
    }


def test_no_two_products_of_the_transformer_overflow(seven_bits: Path, bundle: Path) -> None:
    """Check the sums of two neighboring rows, whose products the CPU adds in 16 bits."""
    found = weights(seven_bits)
    in_transformer = {name: matrix for name, matrix in found.items() if name.startswith("layers.")}
    assert len(in_transformer) == 6 * SMALL["num_hidden_layers"]
    for name, matrix in in_transformer.items():
        pairs = np.abs(matrix[0::2]) + np.abs(matrix[1::2])
        assert LARGEST_ACTIVATION * pairs.max() <= MOST_IN_16_BITS, name
        assert np.abs(matrix).max() == 64, name
    plain = weights(bundle)
    assert found.keys() == plain.keys()
    for name in found.keys() - in_transformer.keys():
        assert np.abs(found[name]).max() == np.abs(plain[name]).max() == 127, name


def test_the_bundle_says_so(
    checkpoint: Path, tmp_path: Path, seven_bits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = voxmood.load(seven_bits, precision="int8")
    assert model.bundle.precisions["int8"].measured["weight_bits"] == 7
    assert "weight_bits" not in model.bundle.precisions["fp32"].measured
    options = ["--precisions", "int8", "--weights", "7"]
    assert main(["export", str(checkpoint), str(tmp_path / "bundle"), *options]) == 0
    assert "weights of 7 bits in the transformer, tuned on" in capsys.readouterr().out


def test_seven_bits_cost_little(seven_bits: Path, bundle: Path) -> None:
    exact, fewer = (
        voxmood.load(folder).bundle.precisions["int8"].measured["sqnr_db"]
        for folder in (bundle, seven_bits)
    )
    assert exact - 6.1 < fewer < exact + 1  # a bit is 6.02 dB


@pytest.mark.parametrize(("largest", "kept"), [(64, True), (65, False)])
def test_onnxruntime_leaves_weights_of_seven_bits_as_they_are(
    largest: int, kept: bool, tmp_path: Path
) -> None:
    """Show that it converts larger ones to uint8, for which there is a slower exact way."""
    matrix = np.full((64, 16), -largest, np.int8)
    node = helper.make_node(
        "MatMulIntegerToFloat",
        ["a", "b", "one", "one", "", "zero"],
        ["product"],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, (8, 64))],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, (8, 16))],
        [
            numpy_helper.from_array(matrix, "b"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (product,) = session.run(None, {"a": np.full((8, 64), LARGEST_ACTIVATION, np.uint8)})
    assert (product == -largest * LARGEST_ACTIVATION * 64).all()
    optimized = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = {each.data_type for each in optimized.initializer if list(each.dims) == [64, 16]}
    assert kinds == ({TensorProto.INT8} if kept else {TensorProto.UINT8})


def test_what_does_not_exist(checkpoint: Path, tmp_path: Path) -> None:
    for options in (["--weights", "6"], ["--weights", "7", "--weight-only"]):
        with pytest.raises(SystemExit):
            main(["export", str(checkpoint), str(tmp_path / "bundle"), *options])
