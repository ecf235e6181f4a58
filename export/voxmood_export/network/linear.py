"""Linear layers, which nearly all of the network's time goes into."""

from __future__ import annotations

from torch import Tensor, nn


class LinearLayer(nn.Module):
    """``x @ matrix + bias``, with a matrix [in, out] as the graph wants it."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        # A view where it can be one: a large network need not be in memory twice.
        self.matrix = nn.Parameter(matrix.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def from_torch(cls, linear: nn.Linear, scale: float = 1.0) -> LinearLayer:
        """Return the same layer as one of PyTorch's, with its output multiplied by a scale."""
        bias = None if linear.bias is None else linear.bias * scale
        return cls(linear.weight.T if scale == 1.0 else linear.weight.T * scale, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for an input [..., in]."""
        product = x @ self.matrix
        return product if self.bias is None else product + self.bias
