"""The judge of float32: what a network gives in float64.

Two float32 results of one function differ by the rounding of both, and PyTorch's is no nearer to
the truth than ONNX Runtime's has to be. Float64 is a thousand million times finer than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from voxmood_export.checkpoint import load_checkpoint

ROUNDING = 1e-5
"""The largest error of float32 logits, as a share of their spread over clips."""


AMPLIFIED = 3
"""How many times as large as that of PyTorch the error of float32 may be, in a network whose random
weights make all rounding larger than `ROUNDING`."""


def exact_logits(
    folder: Path, waveforms: Sequence[np.ndarray], dtype: torch.dtype = torch.float64
) -> np.ndarray:
    """Return the logits [clips, labels] of a checkpoint that normalizes waveforms."""
    model = load_checkpoint(str(folder)).model.to(dtype)
    epsilon = getattr(model.config, "normalization_epsilon", 1e-7)
    rows = []
    for waveform in waveforms:
        with torch.inference_mode():
            rows.append(model(normalized(waveform, epsilon).to(dtype)[None])[0].numpy())
    return np.stack(rows)


def normalized(waveform: np.ndarray, epsilon: float = 1e-7) -> torch.Tensor:
    """Return a waveform with zero mean and unit variance, in float64."""
    exact = torch.from_numpy(waveform).double()
    centered = exact - exact.mean()
    return centered / torch.sqrt((centered * centered).mean() + epsilon)


def error(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the largest error of logits, as a share of the spread of the exact ones."""
    return float(np.abs(found - exact).max() / np.ptp(exact))


def limit(rounded: np.ndarray, exact: np.ndarray) -> float:
    """Return the largest error to accept, where PyTorch gives these logits in float32."""
    return max(ROUNDING, AMPLIFIED * error(rounded, exact))
