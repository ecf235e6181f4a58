"""What the structure of a file says about a recording in it, before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """A part of a file that is a recording of its own; most files have only one.

    Attributes:
        pieces: where each piece of it begins and ends in the file.
        kind: the name of the container, such as `WAV`; empty if it is not known.
        patches: bytes that replace others before the part is decoded, by their offset in the file.
        claimed: the size to report to its decoder, if that is more than there is.
        declared_ratio: the length that the header declares, divided by the true length: above 1 if
            the file was cut off, below 1 if the header was not finished, else 1.
        declared: the length in seconds that the header declares, if it counts samples, not bytes.
        held: the length in seconds that a walk over the frames found.
        form: what is equal in two parts of one kind that players read as one recording.
        mixed: whether its frames come from several streams: their rate changes, or they begin anew.
        behind: the offset of what follows the part, if that is not the end of its last piece.
        left_out: the length of what follows the audio and players read as audio, divided by the
            length of the audio.
        unfinished: whether the mark at its end is missing.
        remark: another warning for whoever uses the recording.
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


def longer(seconds: float, declared: float) -> str:
    """Return the warning for a part of which more was read than its header declares."""
    return (
        f"its header declares {declared:.1f} s; it was read to the end of the file, {seconds:.1f} s"
    )


def unread_behind(seconds: float) -> str:
    """Return the warning for a part behind which players would read on."""
    return f"what follows its {seconds:.1f} s of audio is a tag or other data, and was not read"
