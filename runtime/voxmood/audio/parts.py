"""What the structure of a file says about the recording in it, before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is a recording of its own; most files are one.

    Attributes:
        pieces: where its bytes lie in the file, from and to.
        kind: the container, such as `WAV`.
        prefix: bytes that are put in front of the pieces before they are decoded.
        patches: bytes of its header that are replaced before it is decoded, by offset in the file.
        declared_ratio: how much audio the header declares, of what is there; above 1 where the
            file was cut off, below 1 where the header was not finished, else 1.
        declared: seconds that the header declares, where it counts samples and not bytes.
        held: seconds that a walk over the frames of the file found.
        rate_changes: whether its sampling rate changes on the way.
        unfinished: whether the mark at its end is missing.
    """

    pieces: tuple[tuple[int, int], ...]
    kind: str
    prefix: bytes = b""
    patches: Mapping[int, bytes] = field(default_factory=dict)
    declared_ratio: float = 1.0
    declared: float | None = None
    held: float | None = None
    rate_changes: bool = False
    unfinished: bool = False

    @property
    def stop(self) -> int:
        """The offset in the file at which the part ends."""
        return self.pieces[-1][1]
