"""Access to the bytes of a file by offset, and files that consist of pieces of another file."""

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
    """The bytes of a file, by offset. A block of them is kept, so that short reads are cheap.

    Args:
        file: any file object with `read`, `seek` and `tell`.

    Attributes:
        file: the same file object.
        size: the size of the file in bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        file.seek(0, os.SEEK_END)
        self.size = file.tell()
        self._start = 0
        self._block = b""

    def at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from an offset on, or fewer if the file ends before."""
        begin = offset - self._start
        if begin >= 0 and begin + count <= len(self._block):
            return self._block[begin : begin + count]
        if not 0 <= offset < self.size:
            return b""
        self.file.seek(offset)
        self._start, self._block = offset, self.file.read(max(count, CACHE_BYTES))
        return self._block[:count]

    def number(self, offset: int, count: int, order: str = "little") -> int:
        """Return the unsigned number that `count` bytes make; missing bytes count as zeros."""
        data = self.at(offset, count).ljust(count, b"\0")
        return int.from_bytes(data, "big" if order == "big" else "little")

    def find(self, pattern: bytes, start: int, stop: int) -> int:
        """Return the first offset of a pattern within a range, or -1 if it is not there."""
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


class CallersFile:
    """A file object of a caller, which reads as regular files do.

    Its reads are short at the end only, give bytes, and do not raise: libsndfile calls them from C,
    where an exception would be printed and forgotten.

    Attributes:
        failure: what a read has raised, after which the file seems to end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        """Return as many bytes, or all that are left."""
        blocks = []
        try:
            while count and (block := self._file.read(count)):
                blocks.append(bytes(block))
                count -= len(block) if count > 0 else 0
        except Exception as error:  # whatever the caller's object raises
            self.failure = error
        return b"".join(blocks)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset; return it."""
        try:
            self._file.seek(offset, whence)
        except Exception as error:  # as above
            self.failure = error
        return self.tell()

    def tell(self) -> int:
        """Return the offset."""
        return self._file.tell()


class View(io.RawIOBase):
    """A file that consists of pieces of another file in a row, with some bytes replaced.

    Args:
        file: the other file; any file object with `read` and `seek`.
        pieces: where each piece begins and ends in the other file, in ascending order.
        patches: bytes to put in place of others, by their offset in the other file.
        claimed: the size to report, if it is more than there is. The last bytes of that size, in
            which decoders look for a tag, are zeros; between the pieces and them there is nothing.
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
        """Return True, since the file can be read."""
        return True

    def seekable(self) -> bool:
        """Return True, since `seek` works."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the present offset."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes left, and return how many were written."""
        filled = 0
        if self._ends[-1] < self._size - TAG_BYTES <= self._position:
            filled = min(len(buffer), self._size - self._position)
            buffer[:filled] = bytes(filled)
            self._position += filled
        # The buffer is filled across pieces, since libsndfile takes fewer bytes for the end.
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
