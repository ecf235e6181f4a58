"""emotion2vec: the encoder of FunASR's checkpoints, and its parts in the inference form.

The equations are those of Ma et al., "emotion2vec: Self-Supervised Pre-Training for Speech Emotion
Representation" (2023), which takes its encoder from data2vec 2.0 (Baevski et al., 2022). For a
waveform x::

    h = projection(layer norm(convolutions((x - mean) / sqrt(variance + 1e-5))))
    p = h, then for each positional convolution: p = GELU(layer norm(convolution(p)))
    h = layer norm([extra tokens; h + p])
    each layer: h = layer norm(h + attention(h)), h = layer norm(h + feed-forward(h))
    embedding = mean over time of h without the extra tokens
    logits = projection(embedding)

The score of attention head k at frames i and j gets the bias -s_k |i - j|, which is ALiBi (Press et
al., 2022) with a learned scale: s_k is the head's slope, a fixed power of two, times its scale, or
0 if the scale is negative. The extra tokens have no place in time and no bias.

Shapes: B clips, S samples, T frames, N extra tokens, D hidden size.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor
from transformers.modeling_outputs import BaseModelOutput

from voxmood_export.network.encoder import BlockedGroupedConv, GroupedConv

WAVEFORM_EPSILON = 1e-5
"""What is added to the variance of a waveform, and of everything else that is normalized."""


class Emotion2vecConfig(Wav2Vec2Config):  # type: ignore[misc]
    """The sizes of a network, by the names that transformers uses.

    Args:
        extra_tokens: N, the number of learned vectors before the frames.
        positional_layers: the number of positional convolutions.
        prenet_layers: how many of the layers FunASR calls the prenet; they come first.
        others: sizes that a Wav2Vec2 network has, too.
    """

    model_type = "emotion2vec"

    def __init__(
        self,
        extra_tokens: int = 10,
        positional_layers: int = 5,
        prenet_layers: int = 4,
        **others: Any,
    ) -> None:
        super().__init__(
            **{"feat_extract_norm": "layer", "conv_bias": False, "layer_norm_eps": 1e-5} | others
        )
        self.extra_tokens = extra_tokens
        self.positional_layers = positional_layers
        self.prenet_layers = prenet_layers
        self.normalization_epsilon = WAVEFORM_EPSILON


class Emotion2vecFeatureExtractor(Wav2Vec2FeatureExtractor):  # type: ignore[misc]
    """Normalize waveforms as FunASR does, with an epsilon that counts in quiet recordings."""

    @staticmethod
    def zero_mean_unit_var_norm(
        input_values: list[npt.NDArray[np.float32]], *_: Any, **__: Any
    ) -> list[npt.NDArray[np.float32]]:
        """Return waveforms, each with zero mean and about unit variance."""
        return [
            functional.layer_norm(torch.from_numpy(each), each.shape, eps=WAVEFORM_EPSILON).numpy()
            for each in input_values
        ]


class Emotion2vecModel(nn.Module):
    """Compute the hidden states of an emotion2vec checkpoint as its authors do.

    Its modules have the names that those of Wav2Vec2 have in transformers, so that the inference
    form finds them. `voxmood_export.checkpoint.funasr` knows what FunASR calls them.
    """

    def __init__(self, config: Emotion2vecConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = _FeatureExtractor(config)
        self.feature_projection = nn.ModuleDict(
            {
                "layer_norm": nn.LayerNorm(config.conv_dim[-1]),
                "projection": nn.Linear(config.conv_dim[-1], config.hidden_size),
            }
        )
        self.encoder = _Encoder(config)

    def forward(self, input_values: Tensor, **_: Any) -> BaseModelOutput:
        """Return the last hidden states [B, T, D] of normalized waveforms [B, S] of one length."""
        hidden = self.feature_extractor(input_values)
        for part in ("layer_norm", "projection"):
            hidden = self.feature_projection[part](hidden)
        return BaseModelOutput(last_hidden_state=self.encoder(hidden))


class _FeatureExtractor(nn.Module):
    def __init__(self, config: Emotion2vecConfig) -> None:
        super().__init__()
        widths = [1, *config.conv_dim]
        self.conv_layers = nn.ModuleList(
            _ConvLayer(before, width, kernel, stride)
            for before, width, kernel, stride in zip(
                widths, widths[1:], config.conv_kernel, config.conv_stride, strict=False
            )
        )

    def forward(self, waveform: Tensor) -> Tensor:
        hidden = waveform[:, None]
        for layer in self.conv_layers:
            hidden = layer(hidden)
        return hidden.transpose(1, 2)


class _ConvLayer(nn.Module):
    def __init__(self, before: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, width, kernel, stride, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.layer_norm(self.conv(x).transpose(1, 2)).transpose(1, 2))


class _Encoder(nn.Module):
    def __init__(self, config: Emotion2vecConfig) -> None:
        super().__init__()
        kernel = config.num_conv_pos_embeddings
        self.pos_conv_embed = nn.ModuleList(
            nn.Conv1d(
                config.hidden_size,
                config.hidden_size,
                kernel,
                padding=kernel // 2,
                groups=config.num_conv_pos_embedding_groups,
            )
            for _ in range(config.positional_layers)
        )
        self.extra_tokens = nn.Parameter(torch.zeros(1, config.extra_tokens, config.hidden_size))
        self.alibi_scale = nn.Parameter(torch.ones(1, 1, config.num_attention_heads, 1, 1))
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, hidden: Tensor) -> Tensor:
        position = hidden
        for conv in self.pos_conv_embed:
            found = conv(position.transpose(1, 2))[..., : hidden.shape[1]].transpose(1, 2)
            position = functional.gelu(functional.layer_norm(found, found.shape[-1:]))
        tokens = self.extra_tokens.expand(len(hidden), -1, -1)
        states: Tensor = self.layer_norm(torch.cat([tokens, hidden + position], dim=1))
        count = tokens.shape[1]
        frame = torch.arange(hidden.shape[1])
        distance = functional.pad((frame[None] - frame[:, None]).abs(), (count, 0, count, 0))
        scale = alibi_slopes(self.alibi_scale.shape[2]) * self.alibi_scale.clamp_min(0).flatten()
        bias = -scale[:, None, None] * distance
        for layer in self.layers:
            states = layer(states, bias)
        return states[:, count:]


class _Layer(nn.Module):
    def __init__(self, config: Emotion2vecConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.attention = _Attention(width, config.num_attention_heads)
        self.layer_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.feed_forward = nn.ModuleDict(
            {
                "intermediate_dense": nn.Linear(width, config.intermediate_size),
                "output_dense": nn.Linear(config.intermediate_size, width),
            }
        )
        self.final_layer_norm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.layer_norm(x + self.attention(x, bias))
        hidden = functional.gelu(self.feed_forward["intermediate_dense"](x))
        return cast(Tensor, self.final_layer_norm(x + self.feed_forward["output_dense"](hidden)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.scaling = (width // heads) ** -0.5
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = self.scaling * query @ key.transpose(-2, -1) + bias
        found = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return cast(Tensor, self.out_proj(found))


def alibi_slopes(heads: int) -> Tensor:
    """Return ALiBi's slope of each head, [heads].

    For a power of two they are the powers of one base that end at 2^-8. Other numbers of heads take
    those of the power of two below, then every second one of twice as many heads.
    """
    below = 1 << (heads.bit_length() - 1)

    def powers(count: int) -> list[float]:
        return [2.0 ** (-8.0 * (index + 1) / count) for index in range(count)]

    return torch.tensor([*powers(below), *powers(2 * below)[::2]][:heads])


class PositionalLayers(nn.Module):
    """Compute the positional convolutions, each followed by a layer norm and GELU."""

    def __init__(self, convs: Any, *, blocked: bool) -> None:
        super().__init__()
        kind = BlockedGroupedConv if blocked else GroupedConv
        self.convs = nn.ModuleList(kind(conv) for conv in convs)
        self.norm = nn.LayerNorm(convs[0].out_channels, elementwise_affine=False)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return [B, T, D] for an input [B, T, D]; frames that ``valid`` [B, T] masks are zeros."""
        for conv in self.convs:
            x = functional.gelu(self.norm(conv(x)))
            if valid is not None:
                x = torch.where(valid[..., None], x, 0.0)
        return x


class ExtraTokens(nn.Module):
    """Put learned vectors before the frames."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(tokens.detach(), requires_grad=False)

    def forward(
        self, hidden: Tensor, pooling: Tensor, attention_bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the arguments with N tokens first, which count in attention and not in the mean.

        Args:
            hidden: hidden states [B, T, D].
            pooling: the weights of the frames in the mean over time, [B, 1, T].
            attention_bias: [B, 1, 1, T], very negative at padded frames.
        """
        count = self.tokens.shape[1]
        hidden = torch.cat([self.tokens.expand(hidden.shape[0], -1, -1), hidden], dim=1)
        if attention_bias is not None:
            attention_bias = functional.pad(attention_bias, (count, 0))
        return hidden, functional.pad(pooling, (count, 0)), attention_bias


class Alibi(nn.Module):
    """Compute the bias of each head and distance, one for all layers."""

    def __init__(self, scale: Tensor, tokens: int) -> None:
        super().__init__()
        slopes = alibi_slopes(scale.shape[2]) * scale.detach().clamp_min(0).flatten()
        self.slopes = nn.Parameter(-slopes[:, None, None], requires_grad=False)
        self.tokens = tokens

    def forward(self, states: Any) -> Tensor:
        """Return the bias [1, heads, N + T, N + T] for N + T states."""
        frame = torch.arange(states - self.tokens)
        # The larger of the two differences: the runtime's list of operators has no Abs.
        distance = torch.maximum(frame[None] - frame[:, None], frame[:, None] - frame[None])
        distance = functional.pad(distance.float(), (self.tokens, 0, self.tokens, 0))
        return (self.slopes.float() * distance)[None].to(self.slopes.dtype)
