"""The inputs and outputs of a form's graph, and clips to trace it with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from voxmood.bundle.description import OUTPUTS


@dataclass(frozen=True)
class Signature:
    """What goes into a graph and comes out of it.

    Attributes:
        batched: whether the graph takes any batch, or one clip.
        task: what the model does, one of `voxmood.bundle.description.OUTPUTS`.
    """

    batched: bool
    task: str

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """The inputs with their dynamic axes."""
        if self.batched:
            return {"waveform": {0: "batch", 1: "samples"}, "lengths": {0: "batch"}}
        return {"waveform": {1: "samples"}, "lengths": {}}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """The outputs with their dynamic axes."""
        return dict.fromkeys(OUTPUTS[self.task], {0: "batch"} if self.batched else {})

    def example(self) -> dict[str, Tensor]:
        """Return two padded clips for tracing, or one where the batch is fixed."""
        if self.batched:
            return {"waveform": torch.rand(2, 8000) - 0.5, "lengths": torch.tensor([8000, 5000])}
        return {"waveform": torch.rand(1, 8000) - 0.5, "lengths": torch.tensor([7900])}
