"""What an ONNX file declares, read before ONNX Runtime opens it.

A bundle may come from a stranger. ONNX Runtime follows whatever a graph says: it opens the files
that tensors name, and takes the memory that operators ask for. So the few things that decide what
it touches are read here first, by the wire format of protocol buffers (a field is a number and a
kind, then a varint or a length and as many bytes; numbers as in onnx.proto), without the onnx
package and without copying weights: fields that do not matter are skipped by their length.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voxmood.errors import BundleError

OPERATORS = {
    "": {
        "Add", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "DequantizeLinear",
        "Div", "DynamicQuantizeLinear", "Equal", "Expand", "Floor", "Gather", "Gelu", "Gemm",
        "GreaterOrEqual", "Identity", "LayerNormalization", "Less", "MatMul", "Max", "Mul", "Pad",
        "QuantizeLinear", "Range", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape",
        "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tile",
        "Transpose", "Unsqueeze", "Where",
    },
    "com.microsoft": {"MatMulIntegerToFloat", "MultiHeadAttention"},
}  # fmt: skip
"""By domain, what a graph of these model families is made of. None runs a graph of its own, reads
a file or is code of somebody's."""

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16,
    21: 4, 22: 4,
}  # fmt: skip
"""Size of an element by ONNX's number of its type; strings and complex numbers have no use here."""

WEIGHT_ZERO = 5
"""Which input of MatMulIntegerToFloat is the zero point of its weights."""

MAX_OPERATORS = 100_000
MAX_AXES = 16
MAX_METADATA_BYTES = 1 << 20
MAX_READ_BYTES = 16 << 20  # larger files hold weights, which are mapped and skipped


@dataclass
class GraphFile:
    """What a file declares.

    Attributes:
        metadata: its `metadata_props`.
        inputs: names, in order.
        outputs: names, in order.
        data_bytes: how far into its external data the tensors reach; 0 if there is none.
        products_without_zero: how many int8 products have no zero point of their weights.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    data_bytes: int = 0
    products_without_zero: int = 0


class _RefusedError(Exception):
    """Why the file is refused."""


def read_graph_file(path: Path) -> GraphFile:
    """Reads and checks what an ONNX file declares.

    Raises:
        BundleError: it is no ONNX file, has an operator that no speech model of these families
            has, holds a tensor larger than its data, or names another file than its own `.data`.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Bytes are read twice as fast as a map; a map takes no memory.
            small = len(data) <= MAX_READ_BYTES
            return _Reader(data[:] if small else data, f"{path.name}.data").model()
    except (_RefusedError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"{path}: refused before it was opened ({error}).") from None


class _Reader:
    def __init__(self, data: bytes | mmap.mmap, data_name: str) -> None:
        self.data = data
        self.data_name = data_name
        self.file = GraphFile()
        self.operators = 0

    def model(self) -> GraphFile:
        graphs = 0
        for number, value in self.fields(0, len(self.data)):
            if number == 7:
                graphs += 1
                self.graph(*_span(value))
            elif number == 14:
                key, text = self.pair(*_span(value))
                self.file.metadata[key] = text
            elif number in (20, 25):  # training_info, functions
                raise _RefusedError("holds functions or training graphs")
        if graphs != 1:
            raise _RefusedError(f"holds {graphs} graphs")
        return self.file

    def graph(self, start: int, end: int) -> None:
        for number, value in self.fields(start, end):
            if number == 1:
                self.node(*_span(value))
            elif number == 5:
                self.tensor(*_span(value))
            elif number == 11:
                self.file.inputs.append(self.named(*_span(value)))
            elif number == 12:
                self.file.outputs.append(self.named(*_span(value)))
            elif number == 15:
                raise _RefusedError("holds sparse tensors")

    def node(self, start: int, end: int) -> None:
        operator = domain = ""
        given: list[bool] = []  # for each input; an empty name leaves out an optional one
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise _RefusedError(f"has more than {MAX_OPERATORS} operators")
        for number, value in self.fields(start, end):
            if number == 1:
                begin, stop = _span(value)
                given.append(begin < stop)
            elif number == 4:
                operator = self.text(value)
            elif number == 7:
                domain = self.text(value)
            elif number == 5:
                self.attribute(*_span(value))
        if operator not in OPERATORS.get("" if domain == "ai.onnx" else domain, ()):
            raise _RefusedError(f"operator {f'{domain}.{operator}'.lstrip('.')!r} is not allowed")
        if operator == "MatMulIntegerToFloat" and not any(given[WEIGHT_ZERO : WEIGHT_ZERO + 1]):
            self.file.products_without_zero += 1

    def attribute(self, start: int, end: int) -> None:
        for number, value in self.fields(start, end):
            if number == 5:
                self.tensor(*_span(value), constant=True)
            elif number in (6, 10, 11, 14, 15, 22, 23):
                raise _RefusedError("an attribute holds a graph, a type or several tensors")

    def tensor(self, start: int, end: int, constant: bool = False) -> None:
        elements, count, kind = 1, 0, 0
        external: dict[str, str] = {}
        location = stored = 0
        for number, value in self.fields(start, end):
            if number == 1:
                sizes = [value] if isinstance(value, int) else list(self.varints(*value))
                count += len(sizes)
                elements *= math.prod(sizes)
            elif number == 2:
                kind = value if isinstance(value, int) else 0
            elif number == 13:
                key, text = self.pair(*_span(value))
                external[key] = text
            elif number == 14:
                location = value if isinstance(value, int) else 1
            elif number == 9 or (number in (4, 5, 7, 10, 11) and isinstance(value, tuple)):
                begin, stop = _span(value)
                stored += stop - begin
            if count > MAX_AXES or elements >= 1 << 63:
                raise _RefusedError("a tensor's shape is beyond all bounds")
        if kind not in BITS:
            raise _RefusedError(f"a tensor is of type {kind}")
        size = (elements * BITS[kind] + 7) // 8
        if location == 0 and not external:
            # Typed fields hold at least a byte for an element, raw ones all of its bytes.
            if elements > stored and size > stored:
                raise _RefusedError(f"a tensor of {elements} elements is stored in {stored} bytes")
            return
        if constant or external.get("location") != self.data_name:
            raise _RefusedError(f"a tensor lies in {external.get('location')!r}")
        offset = _number(external.get("offset", "0"))
        if _number(external.get("length", str(size))) != size:
            raise _RefusedError("a tensor's length is not that of its shape")
        self.file.data_bytes = max(self.file.data_bytes, offset + size)

    def pair(self, start: int, end: int) -> tuple[str, str]:
        if end - start > MAX_METADATA_BYTES:
            raise _RefusedError("metadata beyond all bounds")
        found = {number: self.text(value) for number, value in self.fields(start, end)}
        return found.get(1, ""), found.get(2, "")

    def named(self, start: int, end: int) -> str:
        for number, value in self.fields(start, end):
            if number == 1:
                return self.text(value)
        return ""

    def text(self, value: int | tuple[int, int]) -> str:
        start, end = _span(value)
        return self.data[start:end].decode()

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """The fields between two offsets: a number, and a varint or where its bytes lie."""
        data = self.data
        while start < end:
            key = data[start]
            start += 1
            if key > 127:
                key, start = self.varint(start - 1, end)
            kind = key & 7
            if kind > 5 or kind in (3, 4):
                raise _RefusedError("is no ONNX file")
            length = 8 if kind == 1 else 4  # of fixed-width numbers
            if kind in (0, 2):
                # Nearly all take one byte, and a file has a hundred thousand.
                if start < end and data[start] < 128:
                    length = data[start]
                    start += 1
                else:
                    length, start = self.varint(start, end)
                if kind == 0:
                    yield key >> 3, length
                    continue
            if length > end - start:
                raise _RefusedError("is cut off")
            yield key >> 3, (start, start + length)
            start += length

    def varints(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            value, start = self.varint(start, end)
            yield value

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """A number, least significant seven bits first, and the offset behind it."""
        value = shift = 0
        while start < end and shift < 64:
            digit = self.data[start]
            start += 1
            value |= (digit & 127) << shift
            if digit < 128:
                return value, start
            shift += 7
        raise _RefusedError("is cut off or no ONNX file")


def _span(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        raise _RefusedError("is no ONNX file")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise _RefusedError(f"{text[:40]!r} is no offset or length")
    return int(text)
