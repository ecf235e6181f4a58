"""int8 products that give the same integers on every CPU.

x86 without VNNI multiplies uint8 by int8 in pairs whose sum is cut off at 16 bits, and ONNX Runtime
says nothing of it. `session.x64quantprecision` makes it exact there, but makes CPUs that need no
help up to four times slower, so what decides is not the CPU's name but what a product gives.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime

ROWS, DEPTH, COLUMNS = 8, 64, 16  # enough for the kernels that a network's products meet
LARGEST = (255, 127)  # of uint8 and of the int8 weights
FLOAT, UINT8, INT8 = 1, 2, 3  # ONNX's numbers for them


def exact_products() -> dict[str, str]:
    """Session configuration entries with which int8 products are exact on this CPU."""
    # On ARM cores with SME, KleidiAI would quantise each row by a range of its own, not as the
    # graph says; ONNX Runtime's own kernels do as the graph says.
    entries = {"mlas.disable_kleidiai": "1"}
    if products_saturate():
        entries["session.x64quantprecision"] = "1"
    return entries


def describe_products() -> str:
    """How this CPU computes int8 products, for people."""
    return "would saturate; computed in a slower exact way" if products_saturate() else "exact"


@cache
def products_saturate() -> bool:
    """Multiplies the largest values there are, once a process; takes one to five milliseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        _probe(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    (product,) = session.run(None, {"a": np.full((ROWS, DEPTH), LARGEST[0], np.uint8)})
    exact = LARGEST[0] * LARGEST[1] * DEPTH  # below 2**24, so float32 holds it
    return not bool((product == exact).all())


def _probe() -> bytes:
    """An ONNX file of one node, the operator that int8 graphs are made of, as they have it.

    Written by hand, since the runtime has no onnx package: fields by their numbers in onnx.proto.
    """
    weights = np.full((DEPTH, COLUMNS), LARGEST[1], np.int8).tobytes()
    node = b"".join(_field(1, name) for name in ("a", "b", "one", "one", "", "zero"))
    node += _field(2, "product") + _field(4, "MatMulIntegerToFloat") + _field(7, "com.microsoft")
    graph = _field(1, node) + _field(2, "probe")
    graph += _field(5, _tensor("b", INT8, (DEPTH, COLUMNS), weights))
    graph += _field(5, _tensor("one", FLOAT, (), np.float32(1).tobytes()))
    graph += _field(5, _tensor("zero", INT8, (), np.int8(0).tobytes()))
    graph += _field(11, _value("a", UINT8, (ROWS, DEPTH)))
    graph += _field(12, _value("product", FLOAT, (ROWS, COLUMNS)))
    opsets = [("", 18), ("com.microsoft", 1)]
    imports = (_field(8, _field(1, domain) + _field(2, version)) for domain, version in opsets)
    return _field(1, 8) + _field(7, graph) + b"".join(imports)


def _tensor(name: str, kind: int, shape: tuple[int, ...], content: bytes) -> bytes:
    dims = b"".join(_field(1, size) for size in shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, content)


def _value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes with their length in front."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the least significant first; all but the last have the eighth bit set."""
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
