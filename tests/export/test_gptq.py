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
    moments = fitted.T @ fitted / len(fitted)
    errors = []
    for given in (None, moments):
        values, scale = quantize_weight(matrix, given)
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 127
        errors.append(float(((tested @ (values * scale.astype(np.float64) - matrix)) ** 2).mean()))
    assert errors[1] < 0.25 * errors[0]
