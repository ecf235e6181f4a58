"""Weight-only int8: products in float, with weights of 8 bits."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from near import near
from safetensors.torch import load_file, save_file
from torch import Tensor

import voxmood
from voxmood.cli import main
from voxmood_export import BoundsError, export_bundle
from voxmood_export.cli import _as_text
from voxmood_export.verify import Bounds, Verification


@pytest.fixture(scope="module")
def weight_only(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("weight-only") / "bundle"
    export_bundle(checkpoint, output, weight_only=True)
    return output


def test_activations_stay_in_float_and_weights_do_not(bundle: Path, weight_only: Path) -> None:
    graph = onnx.load(weight_only / "model.int8.onnx").graph
    count = Counter(node.op_type for node in graph.node)
    assert not {name for name in count if "Quantize" in name or "Integer" in name}
    initializers = {each.name: each.data_type for each in graph.initializer}
    in_float = {each.input[1] for each in graph.node if each.op_type == "MatMul"} & set(
        initializers
    )
    stored = [name for name, kind in initializers.items() if kind == onnx.TensorProto.INT8]
    quantized = {each.name for each in onnx.load(bundle / "model.int8.onnx").graph.initializer}
    # Each weight is stored once, also where activations had two terms.
    assert set(stored) == {
        name for name in quantized if name.endswith(".int8") and not name.endswith(".rest.int8")
    }
    assert len(in_float) == 4  # two of the first layer, two of the head
    plain = voxmood.load(bundle).bundle.precisions["int8"]
    ours = voxmood.load(weight_only).bundle.precisions["int8"]
    assert ours.measured["weight_only"] is True
    assert "weight_only" not in plain.measured
    assert ours.measured["sqnr_db"] > plain.measured["sqnr_db"] + 3
    assert ours.bytes < plain.bytes


def on_a_grid(weight: Tensor) -> Tensor:
    """Return a weight whose every output channel is a scale times int8 values."""
    scale = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.ndim - 1)) / 127
    return (weight / scale).round() * scale


def test_weights_that_int8_can_store_lose_nothing(
    checkpoint: Path, tmp_path: Path, emodb: list[Path]
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    state = load_file(folder / "model.safetensors")
    for name, weight in state.items():
        if name.endswith("pos_conv_embed.conv.parametrizations.weight.original1"):
            state[name] = on_a_grid(weight)
            norm = state[name.replace("original1", "original0")]
            norm.copy_(state[name].norm(dim=(0, 1), keepdim=True))
        elif name.endswith(".weight") and weight.ndim > 1:
            state[name] = on_a_grid(weight)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    export_bundle(folder, tmp_path / "bundle", weight_only=True)
    exact, stored = (voxmood.load(tmp_path / "bundle", precision=name) for name in ("fp32", "int8"))
    for path in emodb:
        assert stored.predict(path).logits == near(exact.predict(path).logits)


def test_int8_computes_with_the_weights_that_it_stores(weight_only: Path, tmp_path: Path) -> None:
    """The same graph with products of the stored integers, worked out by NumPy in float64."""
    model = onnx.load(weight_only / "model.int8.onnx")
    values = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        found = _stored(node, producers, values)
        if found is not None:
            name = f"{node.output[0]}.float"
            model.graph.initializer.append(onnx.numpy_helper.from_array(found, name))
            node.input[1] = name
    onnx.save(model, tmp_path / "model.onnx")
    import onnxruntime

    waveform = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    inputs = {"waveform": waveform, "lengths": np.array([16000])}
    first, second = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
        for path in (weight_only / "model.int8.onnx", tmp_path / "model.onnx")
    )
    for given, expected in zip(first, second, strict=True):
        assert given == near(expected)


def _stored(
    node: onnx.NodeProto,
    producers: dict[str, onnx.NodeProto],
    values: dict[str, npt.NDArray[np.generic]],
) -> npt.NDArray[np.float32] | None:
    """Return the float weights of a product whose weights are stored in int8."""
    scaled = producers.get(node.input[1]) if node.op_type == "MatMul" else None
    if scaled is None or scaled.op_type != "Mul":
        return None
    cast = producers.get(scaled.input[0])
    if cast is None or cast.input[0] not in values:
        return None
    product = values[cast.input[0]].astype(float) * values[scaled.input[1]].astype(float)
    result: npt.NDArray[np.float32] = product.astype(np.float32)
    return result


def test_the_command_says_so(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(checkpoint), str(tmp_path / "b"), "--precisions=int8", "--weight-only"]
    assert main(command) == 0
    assert "  weights alone, tuned on 16 sentences of synthetic speech" in capsys.readouterr().out


def test_bounds_hold_for_it_too(checkpoint: Path, weight_only: Path, tmp_path: Path) -> None:
    reached = voxmood.load(weight_only).bundle.precisions["int8"].measured["sqnr_db"]
    wanted = Bounds(min_sqnr=reached + 3)
    found = export_bundle(checkpoint, tmp_path / "b", weight_only=True, bounds=wanted)
    measured = found.precisions["int8"].measured
    assert measured["sqnr_db"] >= reached + 3
    assert measured["in_float"]
    with pytest.raises(BoundsError, match="must be at least 200 dB"):
        export_bundle(checkpoint, tmp_path / "c", weight_only=True, bounds=Bounds(min_sqnr=200))


@pytest.mark.parametrize(
    ("precision", "sqnr", "hint"), [("int8", 5, True), ("int8", 21, False), ("fp32", 5, False)]
)
def test_int8_far_from_the_original_has_a_remedy(precision: str, sqnr: float, hint: bool) -> None:
    found = Verification(0.1, 0.1, sqnr, 1.0, "8 sentences", 20.0, 0.01)
    text = _as_text(precision, 1, found)
    assert ("--min-sqnr 25 or --weight-only" in text) == hint
