"""Int8 weights of 8 bits and of 7, whose products are exact on every CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from products import product_graph

import voxmood
from voxmood.cli import main
from voxmood.engine import int8_probe
from voxmood_export.int8.weights import PAIR, quantize_weight

MOST_IN_16_BITS = 2**15 - 1
LARGEST_ACTIVATION = 255


def largest_sum(values: npt.NDArray[np.int8]) -> int:
    """Return the largest size that a sum of two neighboring products can have."""
    matrix = values.astype(np.int64)
    if matrix.shape[-2] % 2:
        matrix = np.concatenate([matrix, np.zeros_like(matrix[..., :1, :])], axis=-2)
    first, second = matrix[..., 0::2, :], matrix[..., 1::2, :]
    # Each activation is 0 or 255 where the sum is largest.
    sums = np.stack([first, second, first + second])
    return LARGEST_ACTIVATION * int(np.abs(sums).max())


def distributions(
    random: np.random.Generator, shape: tuple[int, ...]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return matrices in which few, many or all pairs are beyond their budget."""
    outliers = random.normal(size=shape)
    outliers[..., :4, :] *= 20
    found = {
        "normal": random.normal(size=shape),
        "uniform": random.uniform(-1, 1, size=shape),
        "heavy tails": random.standard_t(2, size=shape),
        "two loud neighbors": outliers,
        "all alike": np.ones(shape),
        "zeros": np.zeros(shape),
    }
    return {name: matrix.astype(np.float32) for name, matrix in found.items()}


@pytest.mark.parametrize("shape", [(64, 5), (3, 64, 5)])
def test_weights_keep_their_value(shape: tuple[int, ...]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    matrix[..., 2] = 0
    for seven_bits, largest in ((False, 127), (True, 64)):
        values, scales = quantize_weight(matrix, seven_bits=seven_bits)
        assert values.dtype == np.int8
        assert values.min() >= -largest
        assert scales.shape == ((5,) if len(shape) == 2 else (3, 1, 5))
        step = np.abs(matrix).max(axis=-2, keepdims=True) / (largest - 0.5 * seven_bits)
        assert (np.abs(values * scales - matrix) <= 0.501 * step).all()
        assert np.abs(values).max(axis=-2)[..., [0, 1, 3, 4]].min() >= largest - seven_bits


@pytest.mark.parametrize("rows", [1, 2, 64, 65])
@pytest.mark.parametrize("with_moments", [False, True])
@pytest.mark.parametrize("stack", [(), (3,)])
def test_two_neighboring_products_of_seven_bits_fit(
    rows: int, with_moments: bool, stack: tuple[int, ...]
) -> None:
    random = np.random.default_rng(rows)
    inputs = random.normal(size=(*stack, 300, rows)) @ random.normal(size=(*stack, rows, rows))
    moments = (inputs.swapaxes(-1, -2) @ inputs / 300).astype(np.float32) if with_moments else None
    for name, matrix in distributions(random, (*stack, rows, 16)).items():
        values, scale = quantize_weight(matrix, moments, seven_bits=True)
        assert largest_sum(values) <= MOST_IN_16_BITS, name
        outputs = inputs @ matrix
        error = np.sqrt(((inputs @ (values * scale) - outputs) ** 2).mean())
        assert error <= 0.05 * np.sqrt((outputs**2).mean()), name


def test_seven_bits_cost_less_than_a_bit() -> None:
    """Compare the error of a layer's outputs with that of weights of 8 bits."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2000, 256)) @ random.normal(size=(256, 256))
    moments = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    matrix = random.normal(size=(256, 64)).astype(np.float32)

    def error(values: npt.NDArray[np.int8], scale: npt.NDArray[np.float32]) -> float:
        return float(((inputs @ (values * scale.astype(np.float64) - matrix)) ** 2).mean())

    eight = error(*quantize_weight(matrix, moments))
    seven = error(*quantize_weight(matrix, moments, seven_bits=True))
    assert 1 < seven / eight < 2.2  # 3.4 dB; the whole bit is 6
    values, _ = quantize_weight(matrix, moments, seven_bits=True)
    assert np.abs(values.astype(int)).max() > PAIR / 2  # some take more than half of the budget


@pytest.fixture(scope="module")
def seven_bits(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("seven-bits") / "bundle"
    assert main(["export", str(checkpoint), str(output), "--weights", "7"]) == 0
    return output


def test_all_weights_of_a_bundle_fit(seven_bits: Path, bundle: Path) -> None:
    for folder, fits in ((seven_bits, True), (bundle, False)):
        matrices = {
            each.name: numpy_helper.to_array(each)
            for each in onnx.load(folder / "model.int8.onnx").graph.initializer
            if each.data_type == TensorProto.INT8 and len(each.dims) >= 2
        }
        assert len(matrices) > 10
        assert (max(map(largest_sum, matrices.values())) <= MOST_IN_16_BITS) == fits


def test_the_bundle_says_so(
    checkpoint: Path, tmp_path: Path, seven_bits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precisions = voxmood.load(seven_bits, precision="int8").bundle.precisions
    assert precisions["int8"].measured["seven_bits"] is True
    assert precisions["int8"].seven_bits
    assert "seven_bits" not in precisions["fp32"].measured
    options = ["--precisions", "int8", "--weights", "7"]
    assert main(["export", str(checkpoint), str(tmp_path / "bundle"), *options]) == 0
    assert "weights of 7 bits, tuned on" in capsys.readouterr().out


def test_seven_bits_of_a_bundle_cost_little(seven_bits: Path, bundle: Path) -> None:
    exact, fewer = (
        voxmood.load(folder).bundle.precisions["int8"].measured["sqnr_db"]
        for folder in (bundle, seven_bits)
    )
    assert fewer > exact - 6.1  # a bit is 6.02 dB; chance can make it better


@pytest.mark.parametrize(("weight_bits", "helped"), [(7, False), (8, True)])
def test_weights_of_seven_bits_get_no_help(
    weight_bits: int,
    helped: bool,
    seven_bits: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Load both on a CPU that saturates, and see which way of ONNX Runtime's is taken."""
    monkeypatch.setattr(int8_probe, "products_saturate", lambda: True)
    entries: list[str] = []
    add = onnxruntime.SessionOptions.add_session_config_entry

    def record(options: onnxruntime.SessionOptions, key: str, value: str) -> None:
        entries.append(key)
        add(options, key, value)

    monkeypatch.setattr(onnxruntime.SessionOptions, "add_session_config_entry", record)
    folder = seven_bits if weight_bits == 7 else bundle
    voxmood.load(folder, precision="int8")
    assert ("session.x64quantprecision" in entries) == helped
    assert main(["info", str(folder)]) == 0
    assert ("slower exact way" in capsys.readouterr().out) == helped


@pytest.mark.parametrize("rows", [1, 3, 249])
@pytest.mark.parametrize("depth", [4, 48, 100, 1024])
@pytest.mark.parametrize("columns", [1, 16, 33])
def test_this_cpu_multiplies_them_exactly(rows: int, depth: int, columns: int) -> None:
    """Multiply the largest activations by pairs that spend all of their budget."""
    random = np.random.default_rng(depth)
    first = random.integers(1, 128, size=(depth // 2, columns))
    signs = random.choice([-1, 1], size=columns)
    matrix = (np.stack([first, PAIR - first], axis=1).reshape(depth, columns) * signs).astype(
        np.int8
    )
    activations = random.integers(250, 256, size=(rows, depth)).astype(np.uint8)
    session = onnxruntime.InferenceSession(product_graph(matrix, rows).SerializeToString())
    (product,) = session.run(None, {"a": activations})
    assert np.array_equal(product, activations.astype(np.int64) @ matrix.astype(np.int64))


def test_what_does_not_exist(checkpoint: Path, tmp_path: Path) -> None:
    for options in (["--weights", "6"], ["--weights", "7", "--weight-only"]):
        with pytest.raises(SystemExit):
            main(["export", str(checkpoint), str(tmp_path / "bundle"), *options])
