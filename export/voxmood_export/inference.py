"""The inference form: the network of a checkpoint as the same function, written for speed.

A checkpoint's own modules are written for training: padded batches go in normalised, every
convolution works channels-first, every layer's hidden states are kept and stacked. The inference
form takes raw waveforms and their lengths and computes the same logits with everything that the
graph's contract asks for inside. REWRITES.md beside this file gives the algebra of each rewrite.

Shapes in this module: B clips, S samples, T frames, C channels of a convolution, D hidden size.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel

NORMALISATION_EPSILON = 1e-7  # as Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm


class InferenceForm(nn.Module):
    """Waveform and lengths to logits, probabilities and embedding.

    Args:
        model: the checkpoint's network, in evaluation mode.
        do_normalize: whether the checkpoint's feature extractor normalises each clip.
        batched: True gives a form for any batch, in which padding is masked; False one for a
            single clip, in which ``lengths`` cuts the padding off and no mask is needed.
    """

    def __init__(self, model: PreTrainedModel, *, do_normalize: bool, batched: bool) -> None:
        super().__init__()
        self.config: PretrainedConfig = model.config
        self.batched = batched
        self.do_normalize = do_normalize
        self.geometry = Geometry(model.config)

        base = cast(Any, model).base_model
        # The module's name becomes the graph node's name, and so the message that ONNX Runtime
        # gives when a length is refused.
        self.length_check = f"lengths_must_be_{self.geometry.min_samples}_to_samples"
        self.add_module(self.length_check, CheckedLengths(self.geometry.min_samples))
        clips = None if batched else 1
        config = model.config
        first, *others = base.feature_extractor.conv_layers
        first_layer = GroupNormFirstLayer if config.feat_extract_norm == "group" else FirstLayer
        self.front_end = nn.ModuleList(
            [first_layer(first, clips), *(FrontEndLayer(layer, clips) for layer in others)]
        )
        self.projection_norm = getattr(base.feature_projection, "layer_norm", nn.Identity())
        self.projection = Product.from_linear(base.feature_projection.projection)
        self.positional = PositionalEmbedding(base.encoder.pos_conv_embed, blocked=not batched)
        norm_first = config.do_stable_layer_norm
        self.encoder_norm = nn.Identity() if norm_first else base.encoder.layer_norm
        self.layers = nn.ModuleList(
            EncoderLayer(layer, norm_first=norm_first, fused_attention=not batched)
            for layer in base.encoder.layers
        )
        self.final_norm = base.encoder.layer_norm if norm_first else nn.Identity()
        self.relative_positions = None
        if config.model_type == "wavlm":
            self.relative_positions = RelativePositions(base.encoder.layers[0].attention)
        self.head = PooledHead(model)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels clips.

        Args:
            waveform: float32 [B, S], mono, at the checkpoint's sampling rate; anything may stand
                after a clip's length.
            lengths: int64 [B], valid samples of each clip.

        Returns:
            Logits [B, labels], probabilities [B, labels], embedding [B, projector width].
        """
        lengths = self.get_submodule(self.length_check)(lengths, waveform.shape[1])
        frames = self.geometry.frames(lengths)
        if self.batched:
            total: Any = self.geometry.frames(torch.as_tensor(waveform.shape[1]))
            valid: Tensor | None = torch.arange(waveform.shape[1])[None] < lengths[:, None]
            frame_valid: Tensor | None = torch.arange(total)[None] < frames[:, None]
        else:
            total = frames[0]
            waveform = waveform[:, : lengths[0]]
            valid, frame_valid = None, None

        if self.do_normalize:
            waveform = normalise(waveform, lengths, valid)
        elif valid is not None:
            waveform = torch.where(valid, waveform, 0.0)
        first, *others = self.front_end
        hidden = first(waveform, lengths, self.geometry.after_first(total))
        for layer in others:
            hidden = layer(hidden)

        hidden = self.projection(self.projection_norm(hidden))
        if frame_valid is None:
            attention_bias = None
            pooling = torch.full((1, 1, hidden.shape[1]), 1.0) / frames[0]
        else:
            hidden = torch.where(frame_valid[..., None], hidden, 0.0)
            attention_bias = torch.where(frame_valid, 0.0, torch.finfo(torch.float32).min)
            attention_bias = attention_bias[:, None, None, :]
            pooling = (frame_valid / frames[:, None])[:, None, :]

        hidden = self.encoder_norm(hidden + self.positional(hidden, frame_valid))
        position_bias = None
        if self.relative_positions is not None:
            position_bias = self.relative_positions(hidden.shape[1])
        means = []
        for layer in self.layers:
            means.append(pooling @ hidden)
            hidden = layer(hidden, attention_bias, position_bias)
        means.append(pooling @ self.final_norm(hidden))
        return cast(tuple[Tensor, Tensor, Tensor], self.head(means))


class Geometry:
    """How many frames the front end makes of a waveform, and how many samples frames need."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.min_samples = int(self.samples(1))

    def frames(self, samples: Tensor) -> Tensor:
        """Frames of so many samples (at least the fewest), for tensors of any shape."""
        for kernel, stride in self.layers:
            samples = torch.div(samples - kernel, stride, rounding_mode="trunc") + 1
        return samples

    def after_first(self, frames: Any) -> Any:
        """The fewest frames of the first layer that give so many in the end."""
        for kernel, stride in reversed(self.layers[1:]):
            frames = (frames - 1) * stride + kernel
        return frames

    def samples(self, frames: Any) -> Any:
        """The fewest samples that give so many frames, for an int or a tensor."""
        kernel, stride = self.layers[0]
        return (self.after_first(frames) - 1) * stride + kernel


class CheckedLengths(nn.Module):
    """Returns the lengths as they are; in the graph a length out of range is an error.

    A Gather whose index lies outside its data is the one standard operator that refuses at run
    time, so the lengths are read from a table that holds the valid ones.
    """

    def __init__(self, min_samples: int) -> None:
        super().__init__()
        self.min_samples = min_samples

    def forward(self, lengths: Tensor, samples: int) -> Tensor:
        """Takes int64 lengths [B] and the number of samples given; returns lengths [B]."""
        table = torch.arange(samples + 1)
        out_of_table = torch.full_like(lengths, 1) * (samples + 1)
        return table[torch.where(lengths >= self.min_samples, lengths, out_of_table)]


def normalise(waveform: Tensor, lengths: Tensor, valid: Tensor | None) -> Tensor:
    """Zero mean and unit variance over the valid samples of each clip; zeros after them."""
    if valid is not None:
        waveform = torch.where(valid, waveform, 0.0)
    count = lengths[:, None].to(waveform.dtype)
    centred = waveform - waveform.sum(1, keepdim=True) / count
    if valid is not None:
        centred = torch.where(valid, centred, 0.0)
    variance = (centred * centred).sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + NORMALISATION_EPSILON)


class Product(nn.Module):
    """``x @ matrix + bias``: a linear layer whose matrix is [in, out], as the graph wants it."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # A view where it can be one: a large network need not be in memory twice.
        self.matrix = nn.Parameter(matrix.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def from_linear(cls, linear: nn.Linear, scale: float = 1.0) -> Product:
        """The product of a linear layer, its output scaled."""
        bias = None if linear.bias is None else linear.bias * scale
        return cls(linear.weight.T if scale == 1.0 else linear.weight.T * scale, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        product = x @ self.matrix
        return product if self.bias is None else product + self.bias


class Framing(nn.Module):
    """Cuts [B, T, C] into the windows of a convolution, [B, N, kernel * C].

    Rows of gcd(kernel, stride) frames are a view; where a window is longer than a row, a Gather
    lays rows side by side. T must be exactly (N - 1) * stride + kernel.

    Args:
        kernel: frames of a window.
        stride: frames from one window to the next.
        channels: C.
        batch: B where it is fixed, which saves the graph the nodes that would ask for it.
    """

    def __init__(self, kernel: int, stride: int, channels: int, batch: int | None) -> None:
        super().__init__()
        frames = math.gcd(kernel, stride)
        self.batch = batch
        self.row_width = frames * channels
        self.rows = kernel // frames
        self.step = stride // frames

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to [B, N, kernel * C]."""
        batch = self.batch or x.shape[0]
        x = x.reshape(batch, -1, self.row_width)
        if self.rows == 1:
            return x
        windows = (x.shape[1] - self.rows) // self.step + 1
        first = torch.arange(windows) * self.step
        x = x[:, first[:, None] + torch.arange(self.rows)]
        return x.reshape(batch, -1, self.rows * self.row_width)


def conv_matrix(weight: Tensor) -> Tensor:
    """A convolution's weight [out, in, kernel] as a matrix [kernel * in, out]."""
    return weight.permute(2, 1, 0).reshape(-1, weight.shape[0])


class FirstLayer(nn.Module):
    """The first convolution with its bias and its layer norm as one product.

    Over the channels, the convolution's mean is a linear and its variance a quadratic form of the
    window's samples x. With the weights centred once, the mean is gone; the variance s² is
    |F [x, 1]|² for a small square factor F; and scaling [x, 1] by 1/s, with a constant appended
    for the norm's bias, leaves one product of kernel + 2 inputs.
    """

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv, norm = layer.conv, layer.layer_norm
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.framing = Framing(self.kernel, self.stride, 1, batch)
        self.epsilon = norm.eps
        matrix = conv_matrix(conv.weight.double())
        bias = matrix.new_zeros(1, matrix.shape[1]) if conv.bias is None else conv.bias[None]
        extended = torch.cat([matrix, bias.double()])  # acts on [x, 1]
        centred = extended - extended.mean(1, keepdim=True)
        # QR gives the factor of the quadratic form without squaring its condition number.
        factor = torch.linalg.qr(centred.T / math.sqrt(centred.shape[1])).R.T
        self.factor = Product(factor[:-1].float(), factor[-1].float())
        scaled = centred * norm.weight.double()
        self.product = Product(torch.cat([scaled, norm.bias.double()[None]]).float(), None)

    def forward(self, waveform: Tensor, lengths: Tensor, frames: Any) -> Tensor:
        """Waveforms [B, S] to the first ``frames`` frames, [B, frames, C].

        Whole frames only: from here on every layer's input has exactly the length it needs.
        """
        x = self.framing(waveform[:, : (frames - 1) * self.stride + self.kernel, None])
        root = self.factor(x)
        inverse = torch.rsqrt((root * root).sum(-1, keepdim=True) + self.epsilon)
        x = torch.cat([x * inverse, inverse, torch.ones_like(inverse)], dim=-1)
        return functional.gelu(self.product(x))


class GroupNormFirstLayer(nn.Module):
    """The first convolution and a group norm of one channel a group, statistics over valid frames.

    With the mean window subtracted from every window, each channel's mean is zero (and with it the
    convolution's bias is gone), so its variance is a mean of squares; the norm's scale then goes
    into the product's matrix and its bias into one more row.
    """

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv, norm = layer.conv, layer.layer_norm
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.framing = Framing(self.kernel, self.stride, 1, batch)
        self.batched = batch is None
        self.epsilon = norm.eps
        self.matrix = nn.Parameter(conv_matrix(conv.weight).detach(), requires_grad=False)
        self.scale, self.shift = norm.weight, norm.bias

    def forward(self, waveform: Tensor, lengths: Tensor, frames: Any) -> Tensor:
        """Waveforms [B, S] to the first ``frames`` frames, [B, frames, C].

        The statistics are over all frames of the convolution, also the few at the end that no later
        layer takes.
        """
        valid = torch.div(lengths - self.kernel, self.stride, rounding_mode="trunc") + 1
        samples = torch.as_tensor(waveform.shape[1])
        count = torch.div(samples - self.kernel, self.stride, rounding_mode="trunc") + 1
        x = self.framing(waveform[:, : (count - 1) * self.stride + self.kernel, None])
        share = torch.ones(1, 1, x.shape[1]) / valid[:, None, None]
        if self.batched:
            share = torch.where(torch.arange(x.shape[1]) < valid[:, None, None], share, 0.0)
        x = x - share @ x
        variance = share @ (x @ self.matrix).square()
        matrix = self.matrix * (self.scale * torch.rsqrt(variance + self.epsilon))
        return functional.gelu(x[:, :frames] @ matrix + self.shift)


class FrontEndLayer(nn.Module):
    """A convolution over frames as one product, channels last; then its norm, if any, and GELU."""

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv = layer.conv
        self.framing = Framing(conv.kernel_size[0], conv.stride[0], conv.in_channels, batch)
        self.product = Product(conv_matrix(conv.weight), conv.bias)
        self.norm = getattr(layer, "layer_norm", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] to [B, N, C]."""
        return functional.gelu(self.norm(self.product(self.framing(x))))


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
        self.bias = conv.bias
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
        self.attention_norm = layer.layer_norm
        self.attention = Attention(layer.attention, fused=fused_attention)
        self.feed_forward_norm = layer.final_layer_norm
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
        self.constant = attention.gru_rel_pos_const

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


class PooledHead(nn.Module):
    """Layer sum, projector and classifier on means over time.

    All three are linear and the layer weights sum to one, so pooling first gives the same vector
    as projecting every frame of the sum of all hidden states.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        layers = model.config.num_hidden_layers + 1
        if model.config.use_weighted_layer_sum:
            self.layer_weights = model.layer_weights.detach().softmax(-1).tolist()
        else:
            self.layer_weights = [0.0] * (layers - 1) + [1.0]
        self.projector = Product.from_linear(model.projector)
        self.classifier = Product.from_linear(model.classifier)

    def forward(self, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Takes the mean over time of every layer's hidden states, each [B, 1, D]."""
        weighted = [
            weight * mean
            for weight, mean in zip(self.layer_weights, means, strict=True)
            if weight != 0.0
        ]
        pooled = sum(weighted[1:], start=weighted[0])[:, 0]
        embedding = self.projector(pooled)
        logits = self.classifier(embedding)
        return logits, logits.softmax(-1), embedding
