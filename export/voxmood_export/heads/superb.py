"""The head of transformers' `ForSequenceClassification`, which the SUPERB checkpoints have.

With hidden states h_0 to h_L, where h_l is what layer l takes and h_L what the encoder gives::

    h = sum over l of softmax(layer_weights)_l h_l      or h_L without `use_weighted_layer_sum`
    logits = classifier(mean over time of projector(h))

The source is `modeling_wav2vec2.py` of transformers up to 4.57, with which these checkpoints were
made and scored. From 5.0 on it takes h_L from before the encoder's final layer norm, which gives
checkpoints with that norm and a sum over layers other answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.network.linear import LinearLayer


class Superb(Head):
    """Compute the weighted sum of layers, projector, mean over time and classifier."""

    title = "the SUPERB head"
    label_layer = "classifier"
    every_layer = True

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        if config.use_weighted_layer_sum:
            self.layer_weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return what `Head.forward` describes."""
        hidden = states[-1]
        if self.config.use_weighted_layer_sum:
            weights = self.layer_weights.softmax(-1)
            hidden = (torch.stack(list(states), dim=1) * weights.view(-1, 1, 1)).sum(1)
        logits: Tensor = self.classifier(self.projector(hidden).mean(1))
        return logits

    def form(self, task: str) -> PooledHead:
        """Return the inference form."""
        return PooledHead(self, task)


class PooledHead(HeadForm):
    """Compute the layer sum, projector and classifier on means over time.

    All three are linear and the layer weights sum to one, so pooling first gives the same vector
    as projecting every frame of the sum of all hidden states.
    """

    every_layer = True
    corrected = "embedding", "projector.bias"

    def __init__(self, head: Superb, task: str) -> None:
        super().__init__(task)
        config = head.config
        if config.use_weighted_layer_sum:
            self.layer_weights = head.layer_weights.detach().softmax(-1).tolist()
        else:
            self.layer_weights = [0.0] * config.num_hidden_layers + [1.0]
        self.projector = LinearLayer.from_torch(head.projector)
        self.classifier = LinearLayer.from_torch(head.classifier)
        self.embedding_width = head.projector.out_features

    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `HeadForm.answer` describes."""
        weighted = [
            weight * mean
            for weight, mean in zip(self.layer_weights, pooled, strict=True)
            if weight != 0.0
        ]
        embedding = self.projector(sum(weighted[1:], start=weighted[0])[:, 0])
        return self.classifier(embedding), embedding
