"""GPTQ: the output of a layer errs less than with weights rounded to the nearest values."""

from __future__ import annotations

import numpy as np

from voxmood_export.int8.weights import quantize_weight


def test_gptq_beats_the_nearest_values() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(8, 64))  # inputs that go with each other, as speech's do
    inputs = random.normal(size=(4000, 8)) @ mixing + 0.1 * random.normal(size=(4000, 64))
    inputs += 3 * random.normal(size=64)
    fitted, tested = inputs[:2000], inputs[2000:]
    matrix = random.normal(size=(64, 32)).astype(np.float32)
    moments = (fitted.T @ fitted / len(fitted)).astype(np.float32)
    errors = []
    for given in (None, moments):
        values, scale = quantize_weight(matrix, given)
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 127
        errors.append(float(((tested @ (values * scale.astype(np.float64) - matrix)) ** 2).mean()))
    assert errors[1] < 0.25 * errors[0]


def test_a_stack_is_rounded_matrix_by_matrix() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(3, 500, 24)) @ random.normal(size=(3, 24, 24))
    matrices = random.normal(size=(3, 24, 10)).astype(np.float32)
    moments = (inputs.transpose(0, 2, 1) @ inputs / 500).astype(np.float32)
    values, scale = quantize_weight(matrices, moments)
    for index in range(3):
        alone = quantize_weight(matrices[index], moments[index])
        assert np.array_equal(values[index], alone.values)
        assert np.array_equal(scale[index, 0], alone.scale)
