"""int8 products that give the same integers on every CPU.

x86 without VNNI multiplies uint8 by int8 in pairs whose sum is cut off at 16 bits, and ONNX Runtime
gives no sign of it. `session.x64quantprecision` makes it exact there, but makes CPUs that need no
help up to four times slower. Whether to set it does not depend on the name of the CPU: the largest
values are multiplied, and the result shows whether it was cut off. Weights of 7 bits need no help.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from voxmood.engine.ort import onnxruntime

PROBE = Path(__file__).with_name("int8_probe.onnx")
"""A graph of one MatMulIntegerToFloat, the operator that int8 graphs consist of, as they have it.

It multiplies a uint8 matrix by int8 weights that are all 127. It is a file because the lean runtime
has no package that could build it; `tests/runtime/test_int8.py` builds it again and compares.
"""

ROWS, DEPTH = 8, 64  # of the uint8 matrix; enough for the kernels that a network's matmuls use
LARGEST = (255, 127)  # of uint8 and of the int8 weights


def exact_products(*, seven_bits: bool = False) -> dict[str, str]:
    """Return the session configuration entries that make int8 products exact on this CPU.

    Args:
        seven_bits: whether the weights have 7 bits, whose products never saturate.
    """
    # On ARM cores with SME, KleidiAI would quantize each row by a range of its own, which is not
    # what the graph says. ONNX Runtime's own kernels do what the graph says.
    entries = {"mlas.disable_kleidiai": "1"}
    if not seven_bits and products_saturate():
        entries["session.x64quantprecision"] = "1"
    return entries


def describe_products(*, seven_bits: bool = False) -> str:
    """Return a few words about how this CPU computes int8 products, for people to read."""
    if seven_bits or not products_saturate():
        return "exact"
    return "would saturate; computed in a slower exact way"


@cache
def products_saturate() -> bool:
    """Return whether this CPU cuts off the products of the largest values there are.

    They are multiplied once in a process, which takes one to five milliseconds.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(PROBE), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    (product,) = session.run(None, {"a": np.full((ROWS, DEPTH), LARGEST[0], np.uint8)})
    exact = LARGEST[0] * LARGEST[1] * DEPTH  # below 2**24, so float32 holds it
    return not bool((product == exact).all())
