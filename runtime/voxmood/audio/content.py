"""Random access to the bytes of a file, and files that are put together of pieces of another."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import BinaryIO

CACHE_BYTES = 64 << 10
TAG_BYTES = 128  # of ID3v1


class Content:
    """The bytes of a file by offset; a block of them is kept, so that short reads are cheap.

    Args:
        file: anything with `read`, `seek` and `tell`.

    Attributes:
        file: the same.
        size: in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        file.seek(0, os.SEEK_END)
        self.size = file.tell()
        self._start = 0
        self._block = b""

    def at(self, offset: int, count: int) -> bytes:
        """Return the bytes from an offset on: `count` of them, or fewer where the file ends."""
        begin = offset - self._start
        if begin >= 0 and begin + count <= len(self._block):
            return self._block[begin : begin + count]
        if not 0 <= offset < self.size:
            return b""
        self.file.seek(offset)
        self._start, self._block = offset, self.file.read(max(count, CACHE_BYTES))
        return self._block[:count]

    def number(self, offset: int, count: int, order: str = "little") -> int:
        """Return an unsigned number of `count` bytes; missing ones count as zeros."""
        data = self.at(offset, count).ljust(count, b"\0")
        return int.from_bytes(data, "big" if order == "big" else "little")

    def find(self, pattern: bytes, start: int, stop: int) -> int:
        """Return the first offset of a pattern within a range, or -1."""
        stop = min(stop, self.size)
        while start + len(pattern) <= stop:
            begin = start - self._start
            if not 0 <= begin <= len(self._block) - len(pattern):
                self.at(start, CACHE_BYTES)
                begin = 0
            found = self._block.find(pattern, begin, stop - self._start)
            if found >= 0:
                return self._start + found
            if len(self._block) < len(pattern):
                return -1
            start = self._start + len(self._block) - len(pattern) + 1
        return -1


class View(io.RawIOBase):
    """A file that is pieces of another one, one after the other, with some bytes replaced.

    Args:
        file: the other one; anything with `read` and `seek`.
        pieces: offsets in it, from and to, in ascending order.
        patches: bytes that take the place of those at an offset of the other file.
        claimed: the size that it is said to have, where that is more than there is. Its last bytes,
            in which decoders look for a tag, are zeros; there is nothing in front of them.
    """

    def __init__(
        self,
        file: BinaryIO,
        pieces: Sequence[tuple[int, int]],
        patches: Mapping[int, bytes] | None = None,
        claimed: int = 0,
    ) -> None:
        self._file = file
        self._pieces = pieces
        self._ends = list(accumulate(stop - start for start, stop in pieces))  # in this file
        self._patches = patches or {}
        self._size = max(claimed, self._ends[-1])
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the offset."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, or as much of it as there are bytes left; return how many it has."""
        filled = 0
        if self._ends[-1] < self._size - TAG_BYTES <= self._position:
            filled = min(len(buffer), self._size - self._position)
            buffer[:filled] = bytes(filled)
            self._position += filled
        # To the end of the buffer, over pieces: libsndfile takes fewer bytes for the end.
        while filled < len(buffer) and self._position < self._ends[-1]:
            piece = bisect_right(self._ends, self._position)
            stop = self._pieces[piece][1]
            begin = stop - (self._ends[piece] - self._position)
            data = self._read(begin, min(stop, begin + len(buffer) - filled))
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._position += len(data)
        return filled

    def _read(self, begin: int, stop: int) -> bytes:
        self._file.seek(begin)
        data = self._file.read(stop - begin)
        for offset, replacement in self._patches.items():
            first, last = max(offset, begin), min(offset + len(replacement), begin + len(data))
            if first < last:
                patch = replacement[first - offset : last - offset]
                data = data[: first - begin] + patch + data[last - begin :]
        return data
