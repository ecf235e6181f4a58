"""What every decoder has in common: it yields blocks of samples, and reports what was unusual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

BLOCK_SAMPLES = 65536  # decoded at a time, of all channels together


@dataclass(frozen=True)
class Block:
    """A block of samples in a row.

    Attributes:
        frames: the samples, float32 [frames, channels].
        rate: their sampling rate, in Hz.
    """

    frames: npt.NDArray[np.float32]
    rate: int


class UnreadableError(Exception):
    """The decoder cannot read the file; another decoder may be able to."""


class Decoder(Protocol):
    """An open file that can be decoded once.

    Attributes:
        duration: the length in seconds as the header states it; None if it does not.
        rate: the sampling rate of the first block, in Hz.
        warnings: what is missing or unusual; complete after the last block.
    """

    duration: float | None
    rate: int
    warnings: list[str]

    def blocks(self) -> Iterator[Block]:
        """Yield all samples; raise UnreadableError if decoding fails before the first one."""
        ...

    def close(self) -> None:
        """Close what the decoder opened, but not the file itself."""
        ...
