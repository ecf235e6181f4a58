"""What an ONNX file declares, read before ONNX Runtime opens it.

A bundle may come from a stranger, and ONNX Runtime does whatever a graph says: it opens the files
that tensors name, and takes the memory that operators ask for. So the few fields that decide this
are read here first. They are read without the onnx package, which the lean runtime does not have,
and without copying weights: all other fields are skipped by their length.

An ONNX file is a protocol buffer. Each of its fields is a number and a wire type, followed by a
varint, or by a length and that many bytes. The numbers are those of onnx.proto.
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
        "Greater", "GreaterOrEqual", "Identity", "LayerNormalization", "Less", "MatMul", "Max",
        "Mul", "Pad", "QuantizeLinear", "Range", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt",
        "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
    },
    "com.microsoft": {"MatMulIntegerToFloat", "MultiHeadAttention"},
}  # fmt: skip
"""The operators that graphs of these model families consist of, by domain. None of them runs
another graph, reads a file, or is code that somebody else wrote."""

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16,
    21: 4, 22: 4,
}  # fmt: skip
"""The size of an element in bits, by ONNX's number of its type. Strings and complex numbers are
missing, since no such graph has them."""

WEIGHT_ZERO_POINT = 5
"""The position of the zero point of the weights among the inputs of MatMulIntegerToFloat."""

MAX_OPERATORS = 100_000
MAX_AXES = 16
MAX_METADATA_BYTES = 1 << 20
MAX_READ_BYTES = 16 << 20  # larger files hold weights, which are mapped and skipped

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # the wire types of protocol buffers
BEGINS_WITH_VARINT = (BYTES, VARINT)
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class ModelProto:
    """Numbers of the fields of a model."""

    GRAPH, METADATA_PROPS, TRAINING_INFO, FUNCTIONS = 7, 14, 20, 25


class GraphProto:
    """Numbers of the fields of a graph."""

    NODE, INITIALIZER, INPUT, OUTPUT, SPARSE_INITIALIZER = 1, 5, 11, 12, 15


class NodeProto:
    """Numbers of the fields of a node."""

    INPUT, OP_TYPE, ATTRIBUTE, DOMAIN = 1, 4, 5, 7


class AttributeProto:
    """Numbers of the fields of an attribute of a node."""

    T, G, TENSORS, GRAPHS, TP, TYPE_PROTOS = 5, 6, 10, 11, 14, 15
    SPARSE_TENSOR, SPARSE_TENSORS = 22, 23
    REFUSED = (G, TENSORS, GRAPHS, TP, TYPE_PROTOS, SPARSE_TENSOR, SPARSE_TENSORS)


class TensorProto:
    """Numbers of the fields of a tensor."""

    DIMS, DATA_TYPE, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 9, 13, 14
    FLOAT_DATA, INT32_DATA, INT64_DATA, DOUBLE_DATA, UINT64_DATA = 4, 5, 7, 10, 11
    TYPED_DATA = (FLOAT_DATA, INT32_DATA, INT64_DATA, DOUBLE_DATA, UINT64_DATA)


class ValueInfoProto:
    """Numbers of the fields of an input or output."""

    NAME = 1


class StringStringEntryProto:
    """Numbers of the fields of a key with its value."""

    KEY, VALUE = 1, 2


@dataclass
class GraphFile:
    """What an ONNX file declares.

    Attributes:
        metadata: the entries of its `metadata_props`.
        inputs: the names of its inputs, in order.
        outputs: the names of its outputs, in order.
        data_bytes: the size that its external data must have for its tensors; 0 if it has none.
        matmuls_without_zero_point: the number of int8 matmuls whose weights have no zero point.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    data_bytes: int = 0
    matmuls_without_zero_point: int = 0


class _RefusedError(Exception):
    """The file is refused; the message says why."""


def read_graph_file(path: Path) -> GraphFile:
    """Return what an ONNX file declares, after checking that it is safe to open.

    Raises:
        BundleError: the file is not an ONNX file, has an operator that no speech model of these
            families has, has a tensor that is larger than its data, or names another file than its
            own `.data`.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Bytes are read twice as fast as a map, but a map takes no memory.
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
            if number == ModelProto.GRAPH:
                graphs += 1
                self.graph(*_span(value))
            elif number == ModelProto.METADATA_PROPS:
                key, text = self.pair(*_span(value))
                self.file.metadata[key] = text
            elif number in (ModelProto.TRAINING_INFO, ModelProto.FUNCTIONS):
                raise _RefusedError("contains functions or training graphs")
        if graphs != 1:
            raise _RefusedError(f"contains {graphs} graphs")
        return self.file

    def graph(self, start: int, end: int) -> None:
        for number, value in self.fields(start, end):
            if number == GraphProto.NODE:
                self.node(*_span(value))
            elif number == GraphProto.INITIALIZER:
                self.tensor(*_span(value))
            elif number == GraphProto.INPUT:
                self.file.inputs.append(self.name(*_span(value)))
            elif number == GraphProto.OUTPUT:
                self.file.outputs.append(self.name(*_span(value)))
            elif number == GraphProto.SPARSE_INITIALIZER:
                raise _RefusedError("contains sparse tensors")

    def node(self, start: int, end: int) -> None:
        operator = domain = ""
        given: list[bool] = []  # for each input; an empty name means that it is left out
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise _RefusedError(f"has more than {MAX_OPERATORS} operators")
        for number, value in self.fields(start, end):
            if number == NodeProto.INPUT:
                begin, stop = _span(value)
                given.append(begin < stop)
            elif number == NodeProto.OP_TYPE:
                operator = self.text(value)
            elif number == NodeProto.DOMAIN:
                domain = self.text(value)
            elif number == NodeProto.ATTRIBUTE:
                self.attribute(*_span(value))
        if operator not in OPERATORS.get("" if domain == "ai.onnx" else domain, ()):
            raise _RefusedError(f"operator {f'{domain}.{operator}'.lstrip('.')!r} is not allowed")
        has_zero_point = len(given) > WEIGHT_ZERO_POINT and given[WEIGHT_ZERO_POINT]
        if operator == "MatMulIntegerToFloat" and not has_zero_point:
            self.file.matmuls_without_zero_point += 1

    def attribute(self, start: int, end: int) -> None:
        for number, value in self.fields(start, end):
            if number == AttributeProto.T:
                self.tensor(*_span(value), constant=True)
            elif number in AttributeProto.REFUSED:
                raise _RefusedError("an attribute contains a graph, a type or several tensors")

    def tensor(self, start: int, end: int, constant: bool = False) -> None:
        elements, count, kind = 1, 0, 0
        external: dict[str, str] = {}
        location = stored = 0
        for number, value in self.fields(start, end):
            if number == TensorProto.DIMS:
                sizes = [value] if isinstance(value, int) else list(self.varints(*value))
                count += len(sizes)
                elements *= math.prod(sizes)
            elif number == TensorProto.DATA_TYPE:
                kind = value if isinstance(value, int) else 0
            elif number == TensorProto.EXTERNAL_DATA:
                key, text = self.pair(*_span(value))
                external[key] = text
            elif number == TensorProto.DATA_LOCATION:
                location = value if isinstance(value, int) else 1
            elif number == TensorProto.RAW_DATA or (
                number in TensorProto.TYPED_DATA and isinstance(value, tuple)
            ):
                begin, stop = _span(value)
                stored += stop - begin
            if count > MAX_AXES or elements >= 1 << 63:
                raise _RefusedError("the shape of a tensor is too large")
        if kind not in BITS:
            raise _RefusedError(f"a tensor has the type {kind}, which is not allowed")
        size = (elements * BITS[kind] + 7) // 8
        if location == 0 and not external:
            # Typed fields hold at least one byte of each element, the raw field all of its bytes.
            if elements > stored and size > stored:
                raise _RefusedError(f"a tensor of {elements} elements is stored in {stored} bytes")
            return
        if constant or external.get("location") != self.data_name:
            raise _RefusedError(f"a tensor is stored in {external.get('location')!r}")
        offset = _number(external.get("offset", "0"))
        if _number(external.get("length", str(size))) != size:
            raise _RefusedError("the length of a tensor does not fit its shape")
        self.file.data_bytes = max(self.file.data_bytes, offset + size)

    def pair(self, start: int, end: int) -> tuple[str, str]:
        if end - start > MAX_METADATA_BYTES:
            raise _RefusedError("its metadata is too large")
        found = {number: self.text(value) for number, value in self.fields(start, end)}
        return (
            found.get(StringStringEntryProto.KEY, ""),
            found.get(StringStringEntryProto.VALUE, ""),
        )

    def name(self, start: int, end: int) -> str:
        for number, value in self.fields(start, end):
            if number == ValueInfoProto.NAME:
                return self.text(value)
        return ""

    def text(self, value: int | tuple[int, int]) -> str:
        start, end = _span(value)
        return self.data[start:end].decode()

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """Yield the fields between two offsets: a number, and a varint or where its bytes lie."""
        data = self.data
        while start < end:
            key = data[start]
            start += 1
            if key > 127:
                key, start = self.varint(start - 1, end)
            kind = key & 7
            if kind in BEGINS_WITH_VARINT:
                # Nearly all of them take one byte, and a file has a hundred thousand.
                if start < end and data[start] < 128:
                    length = data[start]
                    start += 1
                else:
                    length, start = self.varint(start, end)
                if kind == VARINT:
                    yield key >> 3, length
                    continue
            elif kind in FIXED_BYTES:
                length = FIXED_BYTES[kind]
            else:
                raise _RefusedError("is not an ONNX file")
            if length > end - start:
                raise _RefusedError("is cut off")
            yield key >> 3, (start, start + length)
            start += length

    def varints(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            value, start = self.varint(start, end)
            yield value

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """Return a number, whose least significant seven bits come first, and where it ends."""
        value = shift = 0
        while start < end and shift < 64:
            digit = self.data[start]
            start += 1
            value |= (digit & 127) << shift
            if digit < 128:
                return value, start
            shift += 7
        raise _RefusedError("is cut off or not an ONNX file")


def _span(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        raise _RefusedError("is not an ONNX file")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise _RefusedError(f"{text[:40]!r} is not an offset or length")
    return int(text)
