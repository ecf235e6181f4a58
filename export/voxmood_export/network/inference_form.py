"""The inference form: the function of a checkpoint's network, written for speed.

A checkpoint's own modules are written for training: they take padded batches that are already
normalized, every convolution works channels-first, and the hidden states of every layer are kept
and stacked. The inference form takes raw waveforms and their lengths and computes the same logits,
with everything inside that the graph's contract asks for. REWRITES.md in the folder `export`
explains the algebra of each rewrite.

Shapes in this module: B clips, S samples, T frames, C channels of a convolution, D hidden size.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from voxmood_export.network.emotion2vec import Alibi, ExtraTokens, PositionalLayers
from voxmood_export.network.encoder import (
    EncoderLayer,
    PositionalEmbedding,
    RelativePositions,
    scaled,
)
from voxmood_export.network.feature_encoder import (
    FeatureEncoderLayer,
    GroupNormFirstLayer,
    LayerNormFirstLayer,
)
from voxmood_export.network.linear import LinearLayer
from voxmood_export.network.original import OriginalNetwork

NORMALIZATION_EPSILON = 1e-7  # as Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
SUM_BLOCK = 512  # samples


class InferenceForm(nn.Module):
    """Compute the outputs of a graph from waveforms and their lengths.

    Args:
        model: the checkpoint's network, in evaluation mode.
        do_normalize: whether the checkpoint's feature extractor normalizes each clip.
        batched: True makes a form for any batch, in which padding is masked. False makes one for
            a single clip, in which ``lengths`` cuts the padding off and no mask is needed.
        half: whether to compute in float16 from the second convolution to the last layer. Sums
            over all samples, the first layer's quadratic form and the head stay in float32.
    """

    def __init__(
        self, model: OriginalNetwork, *, do_normalize: bool, batched: bool, half: bool = False
    ) -> None:
        super().__init__()
        self.config: PretrainedConfig = model.config
        self.batched = batched
        self.do_normalize = do_normalize
        self.normalization_epsilon: float = getattr(
            model.config, "normalization_epsilon", NORMALIZATION_EPSILON
        )
        self.geometry = Geometry(model.config)

        base = cast(Any, model.encoder)
        # The module's name becomes the graph node's name, and so the message that ONNX Runtime
        # gives when a length is refused.
        self.length_check = f"lengths_must_be_{self.geometry.min_samples}_to_samples"
        self.add_module(self.length_check, CheckedLengths(self.geometry.min_samples))
        clips = None if batched else 1
        config = model.config
        first, *others = base.feature_extractor.conv_layers
        group_norm = config.feat_extract_norm == "group"
        first_layer = GroupNormFirstLayer if group_norm else LayerNormFirstLayer
        self.front_end = nn.ModuleList(
            [first_layer(first, clips), *(FeatureEncoderLayer(layer, clips) for layer in others)]
        )
        # Norms are copied, so that what changes the form leaves the checkpoint as it is.
        norm = getattr(base.feature_projection, "layer_norm", nn.Identity())
        self.projection_norm = deepcopy(norm)
        self.projection = LinearLayer.from_torch(base.feature_projection.projection)
        emotion2vec = config.model_type == "emotion2vec"
        positional = PositionalLayers if emotion2vec else PositionalEmbedding
        self.positional = positional(base.encoder.pos_conv_embed, blocked=not batched)
        norm_first = config.do_stable_layer_norm
        norm = deepcopy(base.encoder.layer_norm)
        self.encoder_norm = nn.Identity() if norm_first else norm
        self.layers = nn.ModuleList(
            EncoderLayer(layer, norm_first=norm_first, fused_attention=not batched)
            for layer in base.encoder.layers
        )
        self.final_norm = norm if norm_first else nn.Identity()
        self.extra_tokens = ExtraTokens(base.encoder.extra_tokens) if emotion2vec else None
        self.relative_positions: nn.Module | None = None
        if config.model_type == "wavlm":
            self.relative_positions = RelativePositions(base.encoder.layers[0].attention)
        elif emotion2vec:
            self.relative_positions = Alibi(base.encoder.alibi_scale, config.extra_tokens)
        self.head = model.head.form(model.task)
        self.scaling = model.head.scaling()
        self.half_precision = half
        if half:
            for name, module in self.named_children():
                if name not in ("front_end", "head"):
                    module.half()
            self.front_end[1:].half()

    @property
    def corrected(self) -> tuple[int, str]:
        """The place of the output that int8 corrects, and the name of the bias that shifts it."""
        output, bias = self.head.corrected
        return -1 if output == "embedding" else 0, f"head.{bias}"

    def linear_layers(self) -> dict[str, LinearLayer]:
        """Return all linear layers by the name that their matrix has in the graph."""
        return {
            f"{name}.matrix": module
            for name, module in self.named_modules()
            if isinstance(module, LinearLayer)
        }

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the task: logits or values [B, labels] first, the embedding last.

        Args:
            waveform: float32 [B, S], mono, at the checkpoint's sampling rate; anything may stand
                after a clip's length.
            lengths: int64 [B], valid samples of each clip.
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
            waveform = normalize(waveform, lengths, valid, self.normalization_epsilon)
        else:
            if self.scaling is not None:
                center, scale = self.scaling
                waveform = (waveform - center) / scale
            if valid is not None:
                waveform = torch.where(valid, waveform, 0.0)
        first, *others = self.front_end
        hidden = first(waveform, lengths, self.geometry.after_first(total))
        if self.half_precision:
            hidden = hidden.half()
        for layer in others:
            hidden = layer(hidden)

        hidden = self.projection(self.projection_norm(hidden))
        if frame_valid is None:
            attention_bias = None
            pooling = torch.full((1, 1, hidden.shape[1]), 1.0) / frames[0]
        else:
            hidden = torch.where(frame_valid[..., None], hidden, 0.0)
            attention_bias = torch.where(frame_valid, 0.0, torch.finfo(hidden.dtype).min)
            attention_bias = attention_bias[:, None, None, :]
            pooling = (frame_valid / frames[:, None])[:, None, :]
        if self.half_precision:
            pooling = pooling.half()
            attention_bias = None if attention_bias is None else attention_bias.half()

        hidden = hidden + self.positional(hidden, frame_valid)
        if self.extra_tokens is not None:
            hidden, pooling, attention_bias = self.extra_tokens(hidden, pooling, attention_bias)
        hidden = self.encoder_norm(hidden)
        position_bias = None
        if self.relative_positions is not None:
            position_bias = self.relative_positions(hidden.shape[1])
        pooled = []
        for layer in cast(list[EncoderLayer], list(self.layers)):
            if self.head.every_layer:
                mean = scaled(self.head.pool(hidden, pooling), layer.scale)
                pooled.append(mean if layer.center is None else mean + layer.center)
            hidden = layer(hidden, attention_bias, position_bias)
        pooled.append(self.head.pool(self.final_norm(hidden), pooling))
        if self.half_precision:
            pooled = [each.float() for each in pooled]
        return cast(tuple[Tensor, ...], self.head(pooled))


class Geometry:
    """Compute how many frames the feature encoder makes, and how many samples they need."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.min_samples = int(self.samples(1))

    def frames(self, samples: Tensor) -> Tensor:
        """Return how many frames come from numbers of samples, each at least `min_samples`."""
        for kernel, stride in self.layers:
            samples = torch.div(samples - kernel, stride, rounding_mode="trunc") + 1
        return samples

    def after_first(self, frames: Any) -> Any:
        """Return the fewest frames of the first layer that lead to this many in the end."""
        for kernel, stride in reversed(self.layers[1:]):
            frames = (frames - 1) * stride + kernel
        return frames

    def samples(self, frames: Any) -> Any:
        """Return the fewest samples that lead to this many frames, for an int or a tensor."""
        kernel, stride = self.layers[0]
        return (self.after_first(frames) - 1) * stride + kernel


class CheckedLengths(nn.Module):
    """Return the lengths as they are; in the graph a length out of range is an error.

    A Gather whose index lies outside its data is the one standard operator that refuses at run
    time, so the lengths are read from a table that holds the valid ones. The index that no table
    has is a constant: on a GPU, one computed from the shape would be copied there in every run,
    and ONNX Runtime captures no CUDA graph of a network with such copies.
    """

    OUT_OF_TABLE = 2**62

    def __init__(self, min_samples: int) -> None:
        super().__init__()
        self.min_samples = min_samples

    def forward(self, lengths: Tensor, samples: int) -> Tensor:
        """Return int64 lengths [B], of which each must be at most the number of samples."""
        table = torch.arange(samples + 1)
        return table[torch.where(lengths >= self.min_samples, lengths, self.OUT_OF_TABLE)]


def normalize(waveform: Tensor, lengths: Tensor, valid: Tensor | None, epsilon: float) -> Tensor:
    """Return clips with zero mean and unit variance over their valid samples, then zeros."""
    if valid is not None:
        waveform = torch.where(valid, waveform, 0.0)
    count = lengths[:, None].to(waveform.dtype)
    centered = waveform - sum_samples(waveform) / count
    if valid is not None:
        centered = torch.where(valid, centered, 0.0)
    variance = sum_samples(centered * centered) / count
    return centered / torch.sqrt(variance + epsilon)


def sum_samples(waveform: Tensor) -> Tensor:
    """Return the sum [B, 1] over the samples of waveforms [B, S], block by block.

    ONNX Runtime adds up a row in a few running sums. Over all samples of a clip their rounding
    would be half of the whole network's, so the sums of short blocks are added up instead.
    """
    samples: Any = waveform.shape[1]
    blocks = (samples + SUM_BLOCK - 1) // SUM_BLOCK
    padded = functional.pad(waveform, (0, blocks * SUM_BLOCK - samples))
    return padded.reshape(waveform.shape[0], -1, SUM_BLOCK).sum(-1).sum(1, keepdim=True)
