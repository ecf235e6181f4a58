"""The reference of the SUPERB head: transformers' own class, as transformers 4.57 computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForAudioClassification


class Transformers4:
    """A `ForSequenceClassification` checkpoint, run by transformers.

    From 5.0 on the last of the hidden states comes from before the encoder's final layer norm, and
    the class gives other logits. There what the class does in 4.57 is done by hand.
    """

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForAudioClassification.from_pretrained(folder).eval()

    @torch.inference_mode()
    def __call__(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits [B, labels] of normalized waveforms [B, samples] and their mask."""
        model = self.model
        if transformers.__version__.startswith("4."):
            logits: Tensor = model(values, mask).logits
            return logits
        found = model.base_model(values, attention_mask=mask, output_hidden_states=True)
        hidden = found.last_hidden_state
        if model.config.use_weighted_layer_sum:
            layers = [*found.hidden_states[:-1], hidden]
            weights = model.layer_weights.softmax(-1)
            hidden = sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
        projected = model.projector(hidden)
        valid = torch.ones(projected.shape[:2], dtype=torch.bool)
        if mask is not None:
            valid = model._get_feature_vector_attention_mask(projected.shape[1], mask).bool()
        mean = (projected * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        answer: Tensor = model.classifier(mean)
        return answer
