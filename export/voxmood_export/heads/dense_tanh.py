"""Heads of two dense layers with tanh between them.

They take the last hidden states h [T, D]::

    x = pool over time of h            (`pooling_mode`: mean, sum or max; without one, mean)
    logits = out(tanh(dense(x)))

Dropout stands before both layers and does nothing at inference. The sources:

- `RegressionHead` and `EmotionModel` on the card of audeering's
  `wav2vec2-large-robust-12-ft-emotion-msp-dim`, whose pooling is the mean: `classifier.dense` and
  `classifier.out_proj`;
- `Wav2Vec2ForSpeechClassification` and `HubertForSpeechClassification` of m3hrdadfi/soxan: the same
  names and all three kinds of pooling;
- `ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition` and its relatives: the same head,
  whose last layer is called `classifier.output`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.network.linear import LinearLayer

SATURATED = 1 - 2.0**-20
"""What tanh is taken to be at most, so that it can be inverted."""

POOLING = ("mean", "sum", "max")
"""The supported values of `pooling_mode`."""


def pooling_mode(config: PretrainedConfig) -> str:
    """Return the configuration's kind of pooling."""
    mode: str = getattr(config, "pooling_mode", "mean")
    return mode


class DenseOutProj(Head):
    """Compute pooling, a dense layer, tanh and the output layer `out_proj`."""

    title = "the head with classifier.dense and classifier.out_proj"
    label_layer = "classifier.out_proj"
    output: ClassVar[str] = "out_proj"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Module()
        self.classifier.dense = nn.Linear(config.hidden_size, config.hidden_size)
        setattr(self.classifier, self.output, nn.Linear(config.hidden_size, config.num_labels))

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear]:
        """The dense layer and the output layer."""
        names = ("classifier.dense", self.label_layer)
        dense, output = (cast(nn.Linear, self.get_submodule(name)) for name in names)
        return dense, output

    @classmethod
    def complaint(cls, config: PretrainedConfig) -> str:
        """Return what `Head.complaint` describes."""
        mode = pooling_mode(config)
        if mode in POOLING:
            return ""
        return f"pooling_mode is {mode!r}; write one of {', '.join(POOLING)}."

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return what `Head.forward` describes."""
        (hidden,) = states
        pools: dict[str, Callable[..., Tensor]]
        pools = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
        pool = pools[pooling_mode(self.config)]
        dense, output = self.layers
        logits: Tensor = output(torch.tanh(dense(pool(hidden, dim=1))))
        return logits

    def form(self, task: str) -> DenseTanhForm:
        """Return the inference form."""
        return DenseTanhForm(*self.layers, pooling_mode(self.config), task)


class DenseOutput(DenseOutProj):
    """Compute the same with an output layer that is called `output`."""

    title = "the head with classifier.dense and classifier.output"
    label_layer = "classifier.output"
    output = "output"


class DenseTanhForm(HeadForm):
    """Compute two dense layers on the hidden states that were pooled over the valid frames."""

    corrected = "embedding", "dense.bias"

    def __init__(self, dense: nn.Linear, output: nn.Linear, pooling: str, task: str) -> None:
        super().__init__(task)
        self.pooling = pooling
        self.dense = LinearLayer.from_torch(dense)
        self.out = LinearLayer.from_torch(output)
        self.embedding_width = dense.out_features

    def pool(self, hidden: Tensor, weights: Tensor) -> Tensor:
        """Return what `HeadForm.pool` describes: mean, sum or maximum over time, [B, 1, D]."""
        if self.pooling == "mean":
            return weights @ hidden
        valid = weights > 0
        if self.pooling == "sum":  # in float32, since the sum of a long clip overflows float16
            return valid.float() @ hidden.float()
        lowest = torch.finfo(hidden.dtype).min
        return torch.where(valid.transpose(1, 2), hidden, lowest).amax(1, keepdim=True)

    def before(self, output: Tensor) -> Tensor:
        """Return what `HeadForm.before` describes: what goes into tanh."""
        return torch.atanh(output.clamp(-SATURATED, SATURATED))

    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what `HeadForm.answer` describes."""
        embedding = torch.tanh(self.dense(pooled[-1][:, 0]))
        return self.out(embedding), embedding
