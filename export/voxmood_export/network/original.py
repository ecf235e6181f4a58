"""A checkpoint's network as its authors compute it, which bundles are verified against."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from voxmood_export.heads import Head


class OriginalNetwork(nn.Module):
    """Compute logits with the encoder of transformers and a checkpoint's head.

    Attributes:
        encoder: the encoder, such as `Wav2Vec2Model`.
        head: the head, in the layout of the checkpoint.
        task: what the logits mean, one of `voxmood.bundle.description.OUTPUTS`.
    """

    def __init__(self, encoder: PreTrainedModel, head: Head, task: str) -> None:
        super().__init__()
        self.encoder, self.head, self.task = encoder, head, task

    @property
    def config(self) -> PretrainedConfig:
        """The configuration of the encoder and the head."""
        return self.encoder.config

    def forward(self, input_values: Tensor) -> Tensor:
        """Return logits [B, labels] of waveforms [B, samples] of one length, from the extractor."""
        if scaling := self.head.scaling():
            center, scale = scaling
            input_values = (input_values - center) / scale
        found = self.encoder(input_values, output_hidden_states=self.head.every_layer)
        # What the encoder gives, explicitly: it is the last of the hidden states in transformers
        # 4, but in transformers 5 that one comes from before the final layer norm.
        earlier = found.hidden_states[:-1] if self.head.every_layer else ()
        logits: Tensor = self.head([*earlier, found.last_hidden_state])
        return logits
