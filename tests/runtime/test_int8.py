"""int8 products that are exact, whatever this CPU does by itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from voxmood import int8


def test_the_probe_is_a_valid_graph_of_the_operator_in_use() -> None:
    model = onnx.load_from_string(int8._probe())
    (node,) = model.graph.node
    assert (node.domain, node.op_type) == ("com.microsoft", "MatMulIntegerToFloat")
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    assert (weights == 127).all()


def test_products_are_exact_with_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    options = onnxruntime.SessionOptions()
    for key, value in int8.exact_products().items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(int8._probe(), options)
    (product,) = session.run(None, {"a": np.full((int8.ROWS, int8.DEPTH), 255, np.uint8)})
    assert (product == 255 * 127 * int8.DEPTH).all()


def test_a_cpu_that_saturates_gets_help(monkeypatch: pytest.MonkeyPatch) -> None:
    for saturates in (False, True):
        monkeypatch.setattr(int8, "products_saturate", lambda answer=saturates: answer)
        assert ("session.x64quantprecision" in int8.exact_products()) == saturates
        assert ("saturate" in int8.describe_products()) == saturates
