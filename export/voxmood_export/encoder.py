"""The encoder: positional convolution and transformer layers.

Shapes: B clips, T frames, D hidden size.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxmood_export.front_end import Framing
from voxmood_export.product import Product


class PositionalEmbedding(nn.Module):
    """The positional convolution, after the batch norm that some networks have, and GELU."""

    def __init__(self, embedding: Any, *, blocked: bool) -> None:
        super().__init__()
        self.conv = (BlockedGroupedConv if blocked else GroupedConv)(embedding.conv)
        self.norm = None
        norm = getattr(embedding, "batch_norm", None)
        if norm is not None:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            self.norm = nn.ParameterList([scale, norm.bias - norm.running_mean * scale])

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """[B, T, D] to [B, T, D]; padded frames, by ``valid`` [B, T], count as zeros."""
        if self.norm is not None:
            # Not folded into the convolution: it pads with zeros after this norm.
            x = x * self.norm[0] + self.norm[1]
            if valid is not None:
                x = torch.where(valid[..., None], x, 0.0)
        return functional.gelu(self.conv(x))


class GroupedConv(nn.Module):
    """The positional convolution, its weight norm folded, as it stands in the checkpoint."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(cast(Tensor, conv.bias).detach(), requires_grad=False)
        self.groups = conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        kernel = self.weight.shape[-1]
        # "Same" padding; an even kernel looks one frame further back than ahead.
        padded = functional.pad(x.transpose(1, 2), (kernel // 2, (kernel - 1) // 2))
        return functional.conv1d(padded, self.weight, self.bias, groups=self.groups).transpose(1, 2)


class BlockedGroupedConv(nn.Module):
    """The positional convolution as one product per group over blocks of two frames.

    A window of one frame gives only D/groups outputs, too few columns to be fast. Windows of
    kernel + 1 frames give those of two frames at once and halve the windows to lay out.
    """

    BLOCK = 2

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        out, width, self.kernel = conv.weight.shape
        self.groups = conv.groups
        window = self.kernel + self.BLOCK - 1
        window += -window % self.BLOCK  # rows of a whole block, so that framing moves less
        self.window = window
        self.framing = Framing(window, self.BLOCK, width, self.groups)
        weight = conv.weight.detach().reshape(self.groups, out // self.groups, width, self.kernel)
        matrices = weight.new_zeros(self.groups, window, width, self.BLOCK, out // self.groups)
        for shift in range(self.BLOCK):
            matrices[:, shift : shift + self.kernel, :, shift] = weight.permute(0, 3, 2, 1)
        bias = cast(Tensor, conv.bias).detach().reshape(self.groups, 1, -1)
        self.product = Product(matrices.flatten(1, 2).flatten(2), bias.repeat(1, 1, self.BLOCK))

    def forward(self, x: Tensor) -> Tensor:
        """[1, T, D] to [1, T, D]."""
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
    """A transformer layer, its norms before attention and feed-forward or after each."""

    def __init__(self, layer: Any, *, norm_first: bool, fused_attention: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = deepcopy(layer.layer_norm)
        self.attention = Attention(layer.attention, fused=fused_attention)
        self.feed_forward_norm = deepcopy(layer.final_layer_norm)
        self.expand = Product.from_linear(layer.feed_forward.intermediate_dense)
        self.contract = Product.from_linear(layer.feed_forward.output_dense)

    def forward(
        self, x: Tensor, attention_bias: Tensor | None, position_bias: Tensor | None
    ) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            x: hidden states.
            attention_bias: [B, 1, 1, T], very negative at padded frames.
            position_bias: [1, heads, T, T], of networks with relative positions.
        """
        biases = attention_bias, position_bias
        if self.norm_first:
            x = x + self.attention(self.attention_norm(x), *biases)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, *biases))
        return cast(Tensor, self.feed_forward_norm(x + self.feed_forward(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        return cast(Tensor, self.contract(functional.gelu(self.expand(x))))


class Attention(nn.Module):
    """Self-attention with the scale folded into the query's weights."""

    def __init__(self, attention: Any, *, fused: bool) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.fused = fused
        self.query = Product.from_linear(attention.q_proj, scale=attention.scaling)
        self.key = Product.from_linear(attention.k_proj)
        self.value = Product.from_linear(attention.v_proj)
        self.out = Product.from_linear(attention.out_proj)
        self.gate = PositionGate(attention) if hasattr(attention, "gru_rel_pos_linear") else None

    def forward(
        self, x: Tensor, attention_bias: Tensor | None, position_bias: Tensor | None
    ) -> Tensor:
        """[B, T, D] to [B, T, D]; biases as `EncoderLayer.forward` takes them."""
        if self.gate is not None:
            gated = self.gate(x, position_bias)
            attention_bias = gated if attention_bias is None else gated + attention_bias
        arguments = (self.query(x), self.key(x), self.value(x), self.heads, attention_bias)
        attention: Any = FusedAttention.apply if self.fused else attend
        return cast(Tensor, self.out(attention(*arguments)))


class RelativePositions(nn.Module):
    """WavLM's bias for each head and distance, from the table of its first layer's attention.

    Buckets grow with the logarithm of the distance and end at a largest one, so a table over
    distances holds all there is.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.farthest: int = attention.max_distance
        distances = torch.arange(-self.farthest, self.farthest + 1)
        buckets = attention._relative_positions_bucket(distances)
        self.table = nn.Parameter(attention.rel_attn_embed.weight.detach()[buckets])

    def forward(self, frames: Any) -> Tensor:
        """[1, heads, T, T] for T frames."""
        position = torch.arange(frames)
        distance = (position[None] - position[:, None]).clamp(-self.farthest, self.farthest)
        return self.table[distance + self.farthest].permute(2, 0, 1)[None]


class PositionGate(nn.Module):
    """WavLM's gate, by which each head and frame weighs the bias of relative positions.

    Of the eight outputs of its linear layer each four are summed; the sum goes into the weights.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        linear = attention.gru_rel_pos_linear
        self.heads: int = attention.num_heads
        self.gate = Product(
            linear.weight.unflatten(0, (2, 4)).sum(1).T, linear.bias.view(2, 4).sum(1)
        )
        self.constant = nn.Parameter(attention.gru_rel_pos_const.detach(), requires_grad=False)

    def forward(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        """Attention's input [B, T, D] and bias [1, heads, T, T] to gated bias [B, heads, T, T]."""
        x = x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads)
        first, second = self.gate(x).sigmoid().transpose(1, 2).split(1, dim=-1)
        return cast(Tensor, (first * (second * self.constant - 1.0) + 2.0) * position_bias)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None) -> Tensor:
    """Attention of every head on already scaled queries; all [B, T, D]."""
    query, key, value = (
        x.reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)
        for x in (query, key, value)
    )
    scores = query @ key.transpose(2, 3)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class FusedAttention(torch.autograd.Function):
    """`attend`, which the graph holds as ONNX Runtime's one operator for it."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None
    ) -> Tensor:
        """As `attend`."""
        return attend(query, key, value, heads, bias)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, heads: int, bias: Any) -> Any:
        """The node that stands for it."""
        inputs = [query, key, value]
        if bias is not None and not bias.node().mustBeNone():
            nothing = g.op("prim::Constant")
            nothing.setType(torch._C.OptionalType.ofTensor())
            inputs += [nothing, nothing, bias]
        operator = "com.microsoft::MultiHeadAttention"
        return g.op(operator, *inputs, num_heads_i=heads, scale_f=1.0).setTypeAs(query)
