"""Bias correction: what int8 adds to every clip alike is taken out again.

Rounded weights times the mean of what they meet shift a network's output by nearly the same vector
whatever is said. The shift is measured once, on clips that verification does not use, and
subtracted from the projector's bias: no cost at run time. After Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2, applied to
the network as a whole instead of layer by layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from voxmood.audio import Waveform
from voxmood.engine.session import create_session, resolve_provider
from voxmood_export.inference import InferenceForm

BIAS = "head.projector.bias"


def embedding_shift(
    path: Path, form: InferenceForm, waveforms: list[Waveform]
) -> npt.NDArray[np.float32]:
    """Mean over clips of the int8 graph's embedding less the float form's, [projector width]."""
    session = create_session(
        path, providers=resolve_provider("cpu"), threads=None, config={}, int8=True
    )
    differences = []
    for waveform in waveforms:
        lengths = np.array([len(waveform)], np.int64)
        inputs = {"waveform": waveform[None], "lengths": lengths}
        (embedding,) = session.run(["embedding"], inputs)
        with torch.inference_mode():
            _, _, expected = form(torch.from_numpy(waveform)[None], torch.from_numpy(lengths))
        differences.append(embedding[0] - expected[0].numpy())
    shift: npt.NDArray[np.float32] = np.mean(differences, axis=0, dtype=np.float32)
    return shift


def correct_bias(model: ir.Model, shift: npt.NDArray[np.float32]) -> None:
    """Subtracts a shift of the embedding from the projector's bias."""
    initializer = model.graph.initializers[BIAS]
    assert initializer.const_value is not None
    initializer.const_value = ir.tensor(initializer.const_value.numpy() - shift, name=BIAS)
