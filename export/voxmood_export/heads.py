"""Heads: what turns hidden states into logits, and which kind of checkpoint has which.

To add a head, write a sub-class of `Head`, add a row to `ARCHITECTURES`, and test it as
`tests/export/test_heads.py` does. The runtime loads graphs of known operators only; if the head has
another one, add it to the list in the `graph_file.py` of `voxmood`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from voxmood_export.network.linear import LinearLayer


class Head(nn.Module):
    """The base of all heads. A sub-class is made from a checkpoint's network.

    Attributes:
        label_layer: the layer of the checkpoint's network whose outputs are the logits.
        embedding_bias: the bias in the head that shifts the embedding; int8 corrects it.
        embedding_width: the size of the embedding.
    """

    label_layer: ClassVar[str]
    embedding_bias: ClassVar[str]
    embedding_width: int

    def forward(self, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, labels], probabilities [B, labels] and embedding [B, width].

        Args:
            means: the mean over time of each layer's hidden states [B, 1, D], first what the
                encoder takes, last what it gives.
        """
        raise NotImplementedError


class PooledHead(Head):
    """Compute the layer sum, projector and classifier on means over time.

    All three are linear and the layer weights sum to one, so pooling first gives the same vector
    as projecting every frame of the sum of all hidden states.
    """

    label_layer = "classifier"
    embedding_bias = "projector.bias"

    def __init__(self, model: Any) -> None:
        super().__init__()
        layers = model.config.num_hidden_layers + 1
        if model.config.use_weighted_layer_sum:
            self.layer_weights = model.layer_weights.detach().softmax(-1).tolist()
        else:
            self.layer_weights = [0.0] * (layers - 1) + [1.0]
        self.projector = LinearLayer.from_torch(model.projector)
        self.classifier = LinearLayer.from_torch(model.classifier)
        self.embedding_width = model.projector.out_features

    def forward(self, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `Head.forward` describes."""
        weighted = [
            weight * mean
            for weight, mean in zip(self.layer_weights, means, strict=True)
            if weight != 0.0
        ]
        pooled = sum(weighted[1:], start=weighted[0])[:, 0]
        embedding = self.projector(pooled)
        logits = self.classifier(embedding)
        return logits, logits.softmax(-1), embedding


@dataclass(frozen=True)
class Architecture:
    """A kind of checkpoint.

    Attributes:
        network: the class of its network in transformers.
        configuration: the class of the network's configuration.
        head: the class of its head in the inference form.
    """

    network: type[PreTrainedModel]
    configuration: type[PretrainedConfig]
    head: type[Head]


ARCHITECTURES = {
    each.network.__name__: each
    for each in (
        Architecture(Wav2Vec2ForSequenceClassification, Wav2Vec2Config, PooledHead),
        Architecture(HubertForSequenceClassification, HubertConfig, PooledHead),
        Architecture(WavLMForSequenceClassification, WavLMConfig, PooledHead),
    )
}
"""Supported kinds of checkpoints by the name of the architecture in `config.json`."""
