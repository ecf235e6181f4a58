"""The feature encoder: convolutions over samples and frames, written as linear layers.

Shapes: B clips, S samples, T or N frames, C channels.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxmood_export.network.linear import LinearLayer


class Im2col(nn.Module):
    """Lay out the windows of a convolution: [B, T, C] becomes [B, N, kernel * C].

    Rows of gcd(kernel, stride) frames are a view; where a window is longer than a row, a Gather
    lays rows side by side. T must be exactly (N - 1) * stride + kernel.

    Args:
        kernel: frames of a window.
        stride: frames from one window to the next.
        channels: C.
        batch: B where it is fixed, which saves the graph the nodes that would compute it.
    """

    def __init__(self, kernel: int, stride: int, channels: int, batch: int | None) -> None:
        super().__init__()
        frames = math.gcd(kernel, stride)
        self.batch = batch
        self.row_width = frames * channels
        self.rows = kernel // frames
        self.step = stride // frames

    def forward(self, x: Tensor) -> Tensor:
        """Return the windows [B, N, kernel * C] of an input [B, T, C]."""
        batch = self.batch or x.shape[0]
        x = x.reshape(batch, -1, self.row_width)
        if self.rows == 1:
            return x
        windows = (x.shape[1] - self.rows) // self.step + 1
        first = torch.arange(windows) * self.step
        x = x[:, first[:, None] + torch.arange(self.rows)]
        return x.reshape(batch, -1, self.rows * self.row_width)


def conv_matrix(weight: Tensor) -> Tensor:
    """Return a convolution's weight [out, in, kernel] as a matrix [kernel * in, out]."""
    return weight.permute(2, 1, 0).reshape(-1, weight.shape[0])


class LayerNormFirstLayer(nn.Module):
    """Compute the first convolution, its bias and its layer norm as one linear layer.

    Over the channels, the convolution's mean is a linear form of the window's samples x, and its
    variance a quadratic form. With the weights centered once, the mean is zero. The variance s² is
    |F [x, 1]|² for a small square factor F. Scaling [x, 1] by 1/s and appending a constant for the
    norm's bias leaves one linear layer of kernel + 2 inputs.
    """

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv, norm = layer.conv, layer.layer_norm
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.framing = Im2col(self.kernel, self.stride, 1, batch)
        self.epsilon = norm.eps
        matrix = conv_matrix(conv.weight.double())
        bias = matrix.new_zeros(1, matrix.shape[1]) if conv.bias is None else conv.bias[None]
        extended = torch.cat([matrix, bias.double()])  # acts on [x, 1]
        centered = extended - extended.mean(1, keepdim=True)
        # QR gives the factor of the quadratic form without squaring its condition number.
        factor = torch.linalg.qr(centered.T / math.sqrt(centered.shape[1])).R.T
        self.factor = LinearLayer(factor[:-1].float(), factor[-1].float())
        scaled = centered * norm.weight.double()
        self.product = LinearLayer(torch.cat([scaled, norm.bias.double()[None]]).float(), None)

    def forward(self, waveform: Tensor, lengths: Tensor, frames: Any) -> Tensor:
        """Return the first ``frames`` frames [B, frames, C] of waveforms [B, S].

        They are whole frames: from here on every layer's input has exactly the length it needs.
        """
        x = self.framing(waveform[:, : (frames - 1) * self.stride + self.kernel, None])
        root = self.factor(x)
        inverse = torch.rsqrt((root * root).sum(-1, keepdim=True) + self.epsilon)
        x = torch.cat([x * inverse, inverse, torch.ones_like(inverse)], dim=-1)
        return functional.gelu(self.product(x))


class GroupNormFirstLayer(nn.Module):
    """Compute the first convolution and its group norm, which has one channel in each group.

    The norm's statistics are taken over the valid frames. With the mean window subtracted from
    every window, each channel's mean is zero and the convolution's bias is gone, so the variance is
    a mean of squares. The norm's scale then goes into the matrix and its bias into one more row.
    For a single clip the variance comes from the windows' covariance [kernel, kernel], which saves
    a matmul. That needs float64, since a channel's variance can be a millionth of the samples'.
    Batched graphs do without, since not every execution provider has float64.
    """

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv, norm = layer.conv, layer.layer_norm
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.framing = Im2col(self.kernel, self.stride, 1, batch)
        self.batched = batch is None
        self.epsilon = norm.eps
        self.matrix = nn.Parameter(conv_matrix(conv.weight).detach(), requires_grad=False)
        self.scale, self.shift = norm.weight, norm.bias

    def forward(self, waveform: Tensor, lengths: Tensor, frames: Any) -> Tensor:
        """Return the first ``frames`` frames [B, frames, C] of waveforms [B, S].

        The statistics are taken over all frames of the convolution, including the few at the end
        that no later layer takes.
        """
        valid = torch.div(lengths - self.kernel, self.stride, rounding_mode="trunc") + 1
        samples = torch.as_tensor(waveform.shape[1])
        count = torch.div(samples - self.kernel, self.stride, rounding_mode="trunc") + 1
        x = self.framing(waveform[:, : (count - 1) * self.stride + self.kernel, None])
        share = torch.ones(1, 1, x.shape[1]) / valid[:, None, None]
        if self.batched:
            share = torch.where(torch.arange(x.shape[1]) < valid[:, None, None], share, 0.0)
        x = x - share @ x
        if self.batched:
            variance = share @ (x @ self.matrix).square()
        else:
            windows, rows = x[0].double(), self.matrix.T.double()
            # As Gemm: ONNX Runtime 1.20 fuses Transpose and MatMul into what it lacks in float64.
            covariance = torch.addmm(windows.new_zeros(self.kernel), windows.T, windows)
            variance = ((rows @ covariance * rows).sum(-1)[None, None] / valid).float()
        matrix = self.matrix * (self.scale * torch.rsqrt(variance + self.epsilon))
        matrix = torch.cat([matrix, self.shift.expand_as(matrix[:, :1])], dim=1)
        x = torch.cat([x[:, :frames], torch.ones_like(x[:, :frames, :1])], dim=-1)
        return functional.gelu(x @ matrix)


class FeatureEncoderLayer(nn.Module):
    """Compute a convolution over frames, its norm if it has one, and GELU, with channels last."""

    def __init__(self, layer: Any, batch: int | None) -> None:
        super().__init__()
        conv = layer.conv
        self.framing = Im2col(conv.kernel_size[0], conv.stride[0], conv.in_channels, batch)
        self.product = LinearLayer(conv_matrix(conv.weight), conv.bias)
        self.norm = deepcopy(getattr(layer, "layer_norm", nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output [B, N, C] for an input [B, T, C]."""
        return functional.gelu(self.norm(self.product(self.framing(x))))
