"""What every decoder gives: blocks of samples, and what was odd about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

BLOCK_SAMPLES = 65536  # of all channels, decoded at a time


@dataclass(frozen=True)
class Block:
    """Samples that follow each other.

    Attributes:
        frames: float32 [frames, channels].
        rate: their sampling rate, in Hz.
    """

    frames: npt.NDArray[np.float32]
    rate: int


class UnreadableError(Exception):
    """A decoder does not read the file; another one may."""


class Decoder(Protocol):
    """A file that is open to be decoded, once.

    Attributes:
        duration: in seconds as the header claims, or None where it does not say.
        rate: the sampling rate of the first block, in Hz.
        warnings: what is missing or odd; complete once all blocks are taken.
    """

    duration: float | None
    rate: int
    warnings: list[str]

    def blocks(self) -> Iterator[Block]:
        """Yield all samples; raise UnreadableError where there is none before a failure."""
        ...

    def close(self) -> None:
        """Close what was opened, but not the file itself."""
        ...
