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
        patches: bytes of its header that are replaced before it is decoded, by offset in the file.
        claimed: the size that its decoder must be told, where that is more than there is.
        declared_ratio: how much audio the header declares, of what is there; above 1 where the
            file was cut off, below 1 where the header was not finished, else 1.
        declared: seconds that the header declares, where it counts samples and not bytes.
        held: seconds that a walk over the frames of the file found.
        form: what must not change on the way from one part of a kind to the next.
        mixed: whether its frames are not of one stream: their rate changes, or they begin anew.
        behind: offset of what follows the part, if it is not what follows its last piece.
        left_out: how much stands behind the audio, as a share of it, that players take for audio.
        unfinished: whether the mark at its end is missing.
        remark: what else its listeners should know.
    """

    pieces: tuple[tuple[int, int], ...]
    kind: str
    patches: Mapping[int, bytes] = field(default_factory=dict)
    claimed: int = 0
    declared_ratio: float = 1.0
    declared: float | None = None
    held: float | None = None
    form: tuple[int, ...] = ()
    behind: int = 0
    left_out: float = 0.0
    mixed: bool = False
    unfinished: bool = False
    remark: str | None = None

    @property
    def stop(self) -> int:
        """The offset in the file at which the part ends."""
        return max(self.behind, self.pieces[-1][1])
