"""Where a recording declares its sizes, and the chunks that it consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

ALL_ONES = -1
"""As one of a field's unknown values: every bit is set."""


class Role(Enum):
    """What a declared number counts."""

    LENGTH = auto()  # the audio: a reader that trusts it stops there
    OUTER = auto()  # the bytes of what the audio lies in
    FRAMES = auto()  # the frames of a stream of MPEG frames, which may go on nevertheless
    COUNT = auto()  # frames, besides a length that says the same


@dataclass(frozen=True)
class Field:
    """A number that a header declares.

    Attributes:
        name: what to call it.
        role: what it counts.
        at: where it begins, in bytes.
        width: its length, in bytes.
        order: of its bytes; "text" is decimal digits.
        bits: how many of its lowest bits are the number; 0 is all of them.
        unknown: values that mean that the writer did not know.
    """

    name: str
    role: Role
    at: int
    width: int
    order: Literal["little", "big", "text"]
    bits: int = 0
    unknown: tuple[int, ...] = ()

    @property
    def largest(self) -> int:
        """The largest number that fits."""
        return 10**self.width - 1 if self.order == "text" else (1 << self._bits) - 1

    @property
    def _bits(self) -> int:
        return self.bits or 8 * self.width

    def read(self, content: bytes) -> int:
        """Returns the number."""
        data = content[self.at : self.at + self.width]
        if self.order == "text":
            return int(data)
        return int.from_bytes(data, self.order) & self.largest

    def write(self, content: bytes, number: int) -> bytes:
        """Returns the content with another number, cut to what fits."""
        number = min(number, self.largest)
        after = content[self.at + self.width :]
        if self.order == "text":
            data = str(number).rjust(self.width).encode()
        else:
            whole = int.from_bytes(content[self.at : self.at + self.width], self.order)
            kept = whole >> self._bits << self._bits
            data = (kept | number).to_bytes(self.width, self.order)
        return content[: self.at] + data + after

    def tells(self, content: bytes) -> bool:
        """Whether a valid file says here how much audio it has."""
        number = self.read(content)
        length = self.role in (Role.LENGTH, Role.FRAMES)
        return length and number > 0 and not self.is_unknown(number)

    def is_unknown(self, number: int) -> bool:
        """Whether a number means that the writer did not know."""
        return number in self.unknown or (ALL_ONES in self.unknown and number == self.largest)


@dataclass(frozen=True)
class Chunk:
    """A part of a RIFF, RF64, FORM, W64 or CAF file.

    Attributes:
        name: its identifier.
        at: where its identifier begins.
        body: where its content begins.
        size: the field that declares its length.
    """

    name: str
    at: int
    body: int
    size: Field


def chunks(content: bytes) -> list[Chunk]:
    """Returns the chunks of a valid file, in order; none for formats without any."""
    magic = content[:4]
    if magic in (b"RIFF", b"RF64", b"FORM"):
        order: Literal["little", "big"] = "big" if magic == b"FORM" else "little"
        return _walk(content, 12, 4, 4, order, 2)
    if magic == b"riff" and content[24:28] == b"wave":
        return _walk(content, 40, 16, 8, "little", 8)
    if magic == b"caff":
        return _walk(content, 8, 4, 8, "big", 1)
    return []


def _walk(
    content: bytes, at: int, id_bytes: int, width: int, order: Literal["little", "big"], align: int
) -> list[Chunk]:
    found = []
    while at + id_bytes + width <= len(content):
        name = content[at : at + 4].decode("latin-1")
        role = Role.LENGTH if name in ("data", "SSND", "BODY") else Role.OUTER
        # Only AIFF has no way to say that its length is not known.
        unknown = () if name in ("SSND", "BODY") else (ALL_ONES, 2**63 - 1)
        size = Field(name, role, at + id_bytes, width, order, unknown=unknown)
        body = at + id_bytes + width
        found.append(Chunk(name, at, body, size))
        # The size of W64 counts the header of its chunk.
        length = size.read(content) - (id_bytes + width if id_bytes == 16 else 0)
        at = body + max(0, length) + -length % align
    return found


def fields(content: bytes) -> list[Field]:
    """Returns what a valid file declares about its length; nothing where nothing is known."""
    magic = content[:4]
    parts = {chunk.name: chunk for chunk in chunks(content)}
    found = [part.size for part in parts.values() if part.size.role is Role.LENGTH]
    if magic in (b"RIFF", b"FORM"):
        order: Literal["little", "big"] = "big" if magic == b"FORM" else "little"
        found.append(Field(magic.decode(), Role.OUTER, 4, 4, order))
    if magic == b"riff":
        found.append(Field("riff", Role.OUTER, 16, 8, "little"))
    if magic == b"RF64":
        at = parts["ds64"].body
        found = [
            Field("ds64 RIFF", Role.OUTER, at, 8, "little"),
            Field("ds64 data", Role.LENGTH, at + 8, 8, "little"),
            Field("ds64 count", Role.COUNT, at + 16, 8, "little"),
        ]
    for name, skipped, width in (("fact", 0, 4), ("COMM", 2, 4), ("VHDR", 0, 4), ("pakt", 8, 8)):
        if name in parts:
            part = parts[name]
            wide = 8 if name == "fact" and magic == b"riff" else width
            found.append(Field(name, Role.COUNT, part.body + skipped, wide, part.size.order))
    if magic == b".snd":
        found.append(Field("AU", Role.LENGTH, 8, 4, "big", unknown=(ALL_ONES,)))
    if magic == b"fLaC":
        found.append(Field("STREAMINFO", Role.LENGTH, 21, 5, "big", bits=36, unknown=(0,)))
    if magic == b"2BIT":
        found.append(Field("AVR", Role.LENGTH, 26, 4, "big"))
    if content.startswith(b"Creative Voice File"):
        at = int.from_bytes(content[20:22], "little")
        found.append(Field("VOC block", Role.LENGTH, at + 1, 3, "little"))
    if match := re.match(rb"NIST_1A.*?sample_count -i (\d+)", content, re.DOTALL):
        at, end = match.span(1)
        found.append(Field("NIST", Role.LENGTH, at, end - at, "text"))
    if match := re.search(rb"\xff[\xe2-\xff].{2}.{0,36}?(Xing|Info)", content[:4096], re.DOTALL):
        found.append(Field("Xing", Role.FRAMES, match.start(1) + 8, 4, "big"))
    if match := re.match(rb"\xff[\xe2-\xff].{34}VBRI", content, re.DOTALL):
        found.append(Field("VBRI", Role.FRAMES, match.end() + 14, 4, "big"))
    return found
