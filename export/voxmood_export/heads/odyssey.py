"""The head of the WavLM baselines of the Odyssey 2024 challenge.

With the last hidden states h_t (attentive statistics pooling, Okabe et al., Interspeech 2018)::

    a = softmax over t of attention . tanh(sap_linear(h_t))
    mean = sum over t of a_t h_t
    deviation = sqrt(max(sum over t of a_t h_t^2 - mean^2, 1e-5))
    x = relu(layer_norm(dense([mean, deviation])))      `classifier_hidden_layers` times
    logits = out(x)

The waveform is standardized by the mean and deviation of the training data, which the configuration
holds: ``(waveform - mean) / (std + 1e-6)``. The source is the code of `SERModel` beside the
checkpoints `3loi/SER-Odyssey-Baseline-WavLM-Categorical` and `-Multi-Attributes`, and their cards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.network.linear import LinearLayer

LEAST_VARIANCE = 1e-5
STD_EPSILON = 1e-6


class Odyssey(Head):
    """Compute attentive statistics pooling, layers with layer norm and ReLU, and the output."""

    title = "the head of the Odyssey 2024 baselines"
    label_layer = "ser_model.out.0"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.pool_model: Any = nn.Module()
        self.pool_model.sap_linear = nn.Linear(width, width)
        self.pool_model.attention = nn.Parameter(torch.randn(width, 1))
        self.ser_model: Any = nn.Module()
        self.ser_model.fc = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width if first else width, width), nn.LayerNorm(width))
            for first in [True] + [False] * (getattr(config, "classifier_hidden_layers", 1) - 1)
        )
        self.ser_model.out = nn.Sequential(nn.Linear(width, config.num_labels))

    def scaling(self) -> tuple[float, float] | None:
        """Return what `Head.scaling` describes."""
        return self.config.mean, self.config.std + STD_EPSILON

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return what `Head.forward` describes."""
        (hidden,) = states
        scores = torch.tanh(self.pool_model.sap_linear(hidden)) @ self.pool_model.attention
        weights = scores.softmax(1)
        mean = (hidden * weights).sum(1)
        variance = ((hidden * hidden * weights).sum(1) - mean * mean).clamp(min=LEAST_VARIANCE)
        x = torch.cat([mean, variance.sqrt()], dim=1)
        for layer in self.ser_model.fc:
            x = layer(x).relu()
        logits: Tensor = self.ser_model.out(x)
        return logits

    def form(self, task: str) -> OdysseyForm:
        """Return the inference form."""
        return OdysseyForm(self, task)


class OdysseyForm(HeadForm):
    """Compute the same over the valid frames of padded clips."""

    corrected = "logits", "out.bias"

    def __init__(self, head: Odyssey, task: str) -> None:
        super().__init__(task)
        self.score = LinearLayer.from_torch(head.pool_model.sap_linear)
        self.attention = nn.Parameter(head.pool_model.attention.detach(), requires_grad=False)
        self.dense = nn.ModuleList(LinearLayer.from_torch(layer[0]) for layer in head.ser_model.fc)
        self.norms = nn.ModuleList(layer[1] for layer in head.ser_model.fc)
        self.out = LinearLayer.from_torch(head.ser_model.out[0])
        self.embedding_width = head.ser_model.out[0].in_features

    def pool(self, hidden: Tensor, weights: Tensor) -> Tensor:
        """Return what `HeadForm.pool` describes: mean and deviation by attention, [B, 1, 2 D]."""
        hidden = hidden.float()
        scores = (torch.tanh(self.score(hidden)) @ self.attention).transpose(1, 2)
        scores = torch.where(weights > 0, scores, torch.finfo(scores.dtype).min)
        attention = scores.softmax(-1)
        mean = attention @ hidden
        variance = (attention @ (hidden * hidden) - mean * mean).clamp(min=LEAST_VARIANCE)
        return torch.cat([mean, variance.sqrt()], dim=-1)

    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `HeadForm.answer` describes."""
        embedding = pooled[-1][:, 0]
        for dense, norm in zip(self.dense, self.norms, strict=True):
            embedding = norm(dense(embedding)).relu()
        return self.out(embedding), embedding
