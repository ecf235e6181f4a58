"""What all heads have in common.

Shapes: B clips, T frames, D hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from transformers import PretrainedConfig


class Head(nn.Module, ABC):
    """The base of all heads: one in the layout of a checkpoint, as its authors compute it.

    A sub-class is made from the configuration of the checkpoint. The names and shapes of its
    parameters are those of the checkpoint's weights, and the head is recognized by them.

    Attributes:
        title: what the head is called in messages.
        label_layer: the linear layer whose outputs are the logits.
        every_layer: whether the head takes the hidden states of all layers, or the last ones alone.
    """

    title: ClassVar[str]
    label_layer: ClassVar[str]
    every_layer: ClassVar[bool] = False

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def complaint(cls, config: PretrainedConfig) -> str:
        """Return why the head does not support a configuration; "" if it does."""
        return ""

    def scaling(self) -> tuple[float, float] | None:
        """Return what is subtracted from waveforms, and what then divides them, if anything."""
        return None

    @abstractmethod
    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return logits [B, labels].

        Args:
            states: hidden states [B, T, D] without padding: what each layer takes, then what the
                encoder gives; the last ones alone unless `every_layer` is set.
        """

    @abstractmethod
    def form(self, task: str) -> HeadForm:
        """Return the head's inference form, which computes the same."""


class HeadForm(nn.Module, ABC):
    """The base of all inference forms of heads.

    Attributes:
        every_layer: as in `Head`.
        corrected: an output of the graph, and a bias of the head. int8 shifts that output by nearly
            the same for every clip, and the shift is subtracted from that bias. If a function
            comes between the two, `before` inverts it. "logits" and the bias of the last layer
            are right for every head.
        embedding_width: the size of the embedding, which is what the last layer takes.
    """

    every_layer: ClassVar[bool] = False
    corrected: ClassVar[tuple[str, str]]
    embedding_width: int

    def __init__(self, task: str) -> None:
        super().__init__()
        self.task = task

    def pool(self, hidden: Tensor, weights: Tensor) -> Tensor:
        """Return what the head keeps of hidden states: by default their mean over time [B, 1, D].

        Args:
            hidden: hidden states [B, T, D], in float16 in forms of half precision.
            weights: one over the number of the clip's frames, and 0 for padding, [B, 1, T].
        """
        return weights @ hidden

    def before(self, output: Tensor) -> Tensor:
        """Return what the corrected bias shifts, of the output that shows it."""
        return output

    @abstractmethod
    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [B, labels] and embedding [B, width] of what `pool` gave."""

    def forward(self, pooled: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs of the graph, as `voxmood.bundle.description.OUTPUTS` names them."""
        logits, embedding = self.answer(pooled)
        if self.task == "classification":
            return logits, logits.softmax(-1), embedding
        if self.task == "multilabel":
            return logits, logits.sigmoid(), embedding
        return logits, embedding
