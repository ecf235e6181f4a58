"""The encoder: positional convolution and transformer layers.

Shapes: B clips, T frames, D hidden size.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxmood_export.network.feature_encoder import Im2col
from voxmood_export.network.linear import LinearLayer


class PositionalEmbedding(nn.Module):
    """Compute the batch norm that some networks have, the positional convolution and GELU."""

    def __init__(self, embedding: Any, *, blocked: bool) -> None:
        super().__init__()
        self.conv = (BlockedGroupedConv if blocked else GroupedConv)(embedding.conv)
        self.norm = None
        norm = getattr(embedding, "batch_norm", None)
        if norm is not None:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            self.norm = nn.ParameterList([scale, norm.bias - norm.running_mean * scale])

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return [B, T, D] for an input [B, T, D]; frames that ``valid`` [B, T] masks are zeros."""
        if self.norm is not None:
            # Not folded into the convolution: it pads with zeros after this norm.
            x = x * self.norm[0] + self.norm[1]
            if valid is not None:
                x = torch.where(valid[..., None], x, 0.0)
        return functional.gelu(self.conv(x))


class GroupedConv(nn.Module):
    """Compute the positional convolution as the checkpoint does, its weight norm folded."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(cast(Tensor, conv.bias).detach(), requires_grad=False)
        self.groups = conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] for an input [B, T, D]."""
        kernel = self.weight.shape[-1]
        # "Same" padding; an even kernel looks one frame further back than ahead.
        padded = functional.pad(x.transpose(1, 2), (kernel // 2, (kernel - 1) // 2))
        return functional.conv1d(padded, self.weight, self.bias, groups=self.groups).transpose(1, 2)


class BlockedGroupedConv(nn.Module):
    """Compute the positional convolution as one matmul per group over blocks of two frames.

    The window of one frame gives only D/groups outputs, which are too few columns to be fast. A
    window of kernel + 1 frames gives the outputs of two frames at once, and there are half as many
    windows to lay out.
    """

    BLOCK = 2

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        out, width, self.kernel = conv.weight.shape
        self.groups = conv.groups
        window = self.kernel + self.BLOCK - 1
        window += -window % self.BLOCK  # rows of a whole block, so that im2col moves less
        self.window = window
        self.framing = Im2col(window, self.BLOCK, width, self.groups)
        weight = conv.weight.detach().reshape(self.groups, out // self.groups, width, self.kernel)
        matrices = weight.new_zeros(self.groups, window, width, self.BLOCK, out // self.groups)
        for shift in range(self.BLOCK):
            matrices[:, shift : shift + self.kernel, :, shift] = weight.permute(0, 3, 2, 1)
        bias = cast(Tensor, conv.bias).detach().reshape(self.groups, 1, -1)
        self.product = LinearLayer(matrices.flatten(1, 2).flatten(2), bias.repeat(1, 1, self.BLOCK))

    def forward(self, x: Tensor) -> Tensor:
        """Return [1, T, D] for an input [1, T, D]."""
        _, frames, hidden = x.shape
        width = hidden // self.groups
        blocks = (frames + self.BLOCK - 1) // self.BLOCK
        before = self.kernel // 2
        after = (blocks - 1) * self.BLOCK + self.window - before - frames
        x = x.reshape(-1, self.groups, width).transpose(0, 1)
        x = functional.pad(x, (0, 0, before, after))
        x = self.product(self.framing(x))
        x = x.reshape(self.groups, -1, width).transpose(0, 1).reshape(1, -1, hidden)
        return x[:, :frames]


class EncoderLayer(nn.Module):
    """Compute a transformer layer, whose norms come before or after attention and feed-forward.

    Attributes:
        center: what SmoothQuant took out of the states that the layer takes, [D], and into its
            attention; None if it took nothing.
        scale: what SmoothQuant then divided these states by, [D]; None if by nothing. The residual
            is multiplied by it.
        middle_scale: likewise, for the states between attention and feed-forward.
    """

    center: Tensor | None = None
    scale: Tensor | None = None
    middle_scale: Tensor | None = None

    def __init__(self, layer: Any, *, norm_first: bool, fused_attention: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = deepcopy(layer.layer_norm)
        self.attention = Attention(layer.attention, fused=fused_attention)
        self.feed_forward_norm = deepcopy(layer.final_layer_norm)
        self.expand = LinearLayer.from_torch(layer.feed_forward.intermediate_dense)
        self.contract = LinearLayer.from_torch(layer.feed_forward.output_dense)

    def forward(
        self, x: Tensor, attention_bias: Tensor | None, position_bias: Tensor | None
    ) -> Tensor:
        """Return hidden states [B, T, D].

        Args:
            x: the hidden states before, [B, T, D].
            attention_bias: [B, 1, 1, T], very negative at padded frames.
            position_bias: [1, heads, T, T], of networks with relative positions or ALiBi.
        """
        biases = attention_bias, position_bias
        if self.norm_first:
            x = x + self.attention(self.attention_norm(x), *biases)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(scaled(x, self.scale) + self.attention(x, *biases))
        x = scaled(x, self.middle_scale) + self.feed_forward(x)
        return cast(Tensor, self.feed_forward_norm(x))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] for an input [B, T, D]."""
        return cast(Tensor, self.contract(functional.gelu(self.expand(x))))


def scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    """Return hidden states [B, T, D] multiplied by a scale [D], if there is one."""
    return x if scale is None else x * scale


class Attention(nn.Module):
    """Compute self-attention, with its scale folded into the query's weights."""

    def __init__(self, attention: Any, *, fused: bool) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.fused = fused
        self.query = LinearLayer.from_torch(attention.q_proj, scale=attention.scaling)
        self.key = LinearLayer.from_torch(attention.k_proj)
        self.value = LinearLayer.from_torch(attention.v_proj)
        self.out = LinearLayer.from_torch(attention.out_proj)
        self.gate = PositionGate(attention) if hasattr(attention, "gru_rel_pos_linear") else None

    def forward(
        self, x: Tensor, attention_bias: Tensor | None, position_bias: Tensor | None
    ) -> Tensor:
        """Return [B, T, D] for an input [B, T, D] and the biases of `EncoderLayer.forward`."""
        if self.gate is not None:
            position_bias = self.gate(x, position_bias)
        if attention_bias is None:
            attention_bias = position_bias
        elif position_bias is not None:
            attention_bias = position_bias + attention_bias
        arguments = (self.query(x), self.key(x), self.value(x), self.heads, attention_bias)
        attention: Any = FusedAttention.apply if self.fused else attend
        return cast(Tensor, self.out(attention(*arguments)))


class RelativePositions(nn.Module):
    """Look up WavLM's bias for each head and distance in the table of its first layer.

    Its buckets grow with the logarithm of the distance and end at a largest distance, so a table
    over distances holds all of them.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.farthest: int = attention.max_distance
        distances = torch.arange(-self.farthest, self.farthest + 1)
        buckets = attention._relative_positions_bucket(distances)
        self.table = nn.Parameter(attention.rel_attn_embed.weight.detach()[buckets])

    def forward(self, frames: Any) -> Tensor:
        """Return the bias [1, heads, T, T] for T frames."""
        position = torch.arange(frames)
        distance = (position[None] - position[:, None]).clamp(-self.farthest, self.farthest)
        return self.table[distance + self.farthest].permute(2, 0, 1)[None]


class PositionGate(nn.Module):
    """Compute WavLM's gate, by which each head and frame weighs the bias of relative positions.

    The original sums the eight outputs of a linear layer by fours. Here the weights are summed.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        linear = attention.gru_rel_pos_linear
        self.heads: int = attention.num_heads
        self.gate = LinearLayer(
            linear.weight.unflatten(0, (2, 4)).sum(1).T, linear.bias.view(2, 4).sum(1)
        )
        self.constant = nn.Parameter(attention.gru_rel_pos_const.detach(), requires_grad=False)

    def forward(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        """Return the gated bias [B, heads, T, T].

        Args:
            x: the input of attention, [B, T, D].
            position_bias: the bias before the gate, [1, heads, T, T].
        """
        x = x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads)
        first, second = self.gate(x).sigmoid().transpose(1, 2).split(1, dim=-1)
        return cast(Tensor, (first * (second * self.constant - 1.0) + 2.0) * position_bias)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    """Return the attention [B, T, D] of all heads.

    Args:
        query: queries that are already scaled, [B, T, D].
        key: keys, [B, T, D].
        value: values, [B, T, D].
        heads: the number of heads.
        bias: what is added to the scores before the softmax, [B or 1, heads or 1, T or 1, T].
    """
    query, key, value = (
        x.reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)
        for x in (query, key, value)
    )
    scores = query @ key.transpose(2, 3)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class FusedAttention(torch.autograd.Function):
    """Compute `attend`; the graph holds it as ONNX Runtime's single operator."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None
    ) -> Tensor:
        """Return what `attend` returns."""
        return attend(query, key, value, heads, bias)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, heads: int, bias: Any) -> Any:
        """Return the node that the graph holds."""
        inputs = [query, key, value]
        if bias is not None and not bias.node().mustBeNone():
            nothing = g.op("prim::Constant")
            nothing.setType(torch._C.OptionalType.ofTensor())
            inputs += [nothing, nothing, bias]
        operator = "com.microsoft::MultiHeadAttention"
        return g.op(operator, *inputs, num_heads_i=heads, scale_f=1.0).setTypeAs(query)
