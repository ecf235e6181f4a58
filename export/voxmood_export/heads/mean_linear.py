"""The head of emotion2vec: a linear layer on the mean over time.

With the last hidden states h [T, D]::

    logits = proj(mean over time of h)

The source is `Emotion2vec.inference` of FunASR. Transformers' checkpoints are not recognized by it,
since its weights are among those of other heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.network.linear import LinearLayer


class MeanLinear(Head):
    """Compute the mean over time and the linear layer."""

    title = "the head of emotion2vec"
    label_layer = "proj"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return what `Head.forward` describes."""
        (hidden,) = states
        logits: Tensor = self.proj(hidden.mean(1))
        return logits

    def form(self, task: str) -> MeanLinearForm:
        """Return the inference form."""
        return MeanLinearForm(self.proj, task)


class MeanLinearForm(HeadForm):
    """Compute the linear layer on the mean, which is the embedding."""

    corrected = "embedding", "shift"

    def __init__(self, proj: nn.Linear, task: str) -> None:
        super().__init__(task)
        self.proj = LinearLayer.from_torch(proj)
        self.embedding_width = proj.in_features
        # Zero, until int8 corrects the embedding.
        self.shift = nn.Parameter(torch.zeros(self.embedding_width), requires_grad=False)

    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `HeadForm.answer` describes."""
        embedding = pooled[-1][:, 0] + self.shift
        return self.proj(embedding), embedding
