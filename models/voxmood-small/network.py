"""The model that ships, and the heads that only training needs."""

from __future__ import annotations

from typing import Any

import torch
from audio import LAGS, MELS
from corpora import LABELS, WIDTH
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

HEAD = 32  # channels of an attention head


def configuration(dropout: float) -> Wav2Vec2Config:
    """Return the shape of the network: 2.5 million parameters."""
    width = 192
    return Wav2Vec2Config(
        conv_dim=(32, 64, 64, 128, 128, 128, 192),
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        use_weighted_layer_sum=True,
        hidden_size=width,
        num_hidden_layers=6,
        num_attention_heads=width // HEAD,
        intermediate_size=3 * width,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=width,
        hidden_dropout=dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
        vocab_size=32,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


def frames_in(samples: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Return how many frames the front end makes of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


class Trainee(nn.Module):
    """The model, a second classifier for vocal bursts, and what it must hear early and late."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        config = configuration(dropout)
        self.model: Any = Wav2Vec2ForSequenceClassification(config)
        self.bursts = nn.Linear(config.classifier_proj_size, len(LABELS))
        self.hear_early = nn.Linear(config.hidden_size, MELS + LAGS)
        self.hear_late = nn.Linear(config.hidden_size, MELS + LAGS)
        self.teach = nn.Linear(config.hidden_size, WIDTH)

    def front_end(self, x: Tensor) -> Tensor:
        """Return features [clips, frames, channels] of waves [clips, samples].

        The numbers of `feature_extractor`, as matrix products over frames: half the time on a CPU.
        """
        frames = x[..., None]
        for layer in self.model.wav2vec2.feature_extractor.conv_layers:
            conv, norm = layer.conv, layer.layer_norm
            frames = frames.unfold(1, conv.kernel_size[0], conv.stride[0]).flatten(2)
            frames = functional.linear(frames, conv.weight.flatten(1).to(x), conv.bias.to(x))
            frames = functional.layer_norm(
                frames, norm.normalized_shape, norm.weight.to(x), norm.bias.to(x), norm.eps
            )
            frames = functional.gelu(frames)
        return frames

    def encode(self, hidden: Tensor, heard: Tensor) -> list[Tensor]:
        """Return the states that the weighted layer sum adds, the last one after its layer norm.

        As the encoder of transformers 4.57 does; its later versions leave out the layer norm.
        hidden: [clips, frames, channels]; heard: booleans [clips, frames].
        """
        encoder = self.model.wav2vec2.encoder
        dropout, mask = encoder.dropout, heard[:, None, None]
        hidden = hidden * heard[..., None]
        hidden = dropout(hidden + encoder.pos_conv_embed(hidden))
        states = []
        for layer in encoder.layers:
            states.append(hidden)
            attention, normal = layer.attention, layer.layer_norm(hidden)
            query, key, value = (
                part(normal).unflatten(-1, (-1, HEAD)).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            found = functional.scaled_dot_product_attention(query, key, value, mask)
            hidden = hidden + dropout(attention.out_proj(found.transpose(1, 2).flatten(2)))
            inner = layer.feed_forward.intermediate_dense(layer.final_layer_norm(hidden))
            inner = layer.feed_forward.output_dense(functional.gelu(inner))
            hidden = hidden + dropout(inner)
        return [*states, encoder.layer_norm(hidden)]

    def forward(
        self, x: Tensor, counts: Tensor, mask: float
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor]:
        """Answer for waves [clips, samples] of which the first counts [clips] samples are heard.

        Returns:
            Speech logits, burst logits, what was heard early and late, the teacher's frames as
            guessed, and which frames [clips, frames] belong to the clips.
        """
        model = self.model
        half = x.is_cuda and torch.is_autocast_enabled("cuda")
        with torch.autocast(x.device.type, enabled=False):
            features = self.front_end(x.bfloat16() if half else x)
        hidden, features = model.wav2vec2.feature_projection(features.float())
        position = torch.arange(hidden.shape[1], device=x.device)
        heard = position < frames_in(counts, model.config)[:, None]
        if mask:
            starts = torch.rand(hidden.shape[:2], device=x.device) < mask / 10  # 10 frames each
            spans = functional.max_pool1d(starts.float()[:, None], 10, 1, 5)
            hidden = hidden.masked_fill(spans[:, 0, : hidden.shape[1], None] > 0, 0.0)
        states = self.encode(hidden, heard)
        weights = model.layer_weights.softmax(-1)
        mixed = torch.stack([w * s for w, s in zip(weights, states, strict=True)]).sum(0)
        kept = heard[..., None]
        pooled = (model.projector(mixed) * kept).sum(1) / kept.sum(1)
        guesses = [self.hear_early(features), self.hear_late(states[-1])]
        return model.classifier(pooled), self.bursts(pooled), guesses, self.teach(states[-1]), heard
