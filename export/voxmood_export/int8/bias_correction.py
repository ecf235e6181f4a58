"""Bias correction: the error that int8 adds to every clip is subtracted again.

Rounded weights times the mean of their inputs shift a network's output by nearly the same vector
for every clip. The shift is measured once, on clips that verification does not use, and subtracted
from a bias of the head, which costs nothing at run time: that of the embedding, of the layer before
the embedding's tanh, or of the last layer. The method follows Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2, applied to the network as
a whole instead of layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from voxmood.audio import Waveform
from voxmood.engine.session import create_session, resolve_provider
from voxmood_export.network.inference_form import InferenceForm


def output_shift(
    path: Path, form: InferenceForm, waveforms: Sequence[Waveform]
) -> npt.NDArray[np.float32]:
    """Return the mean over clips of how far int8 shifts what a bias shifts as well, [width].

    It shows at the output that `InferenceForm.corrected` says; see `HeadForm.before`.
    """
    session = create_session(
        path, providers=resolve_provider("cpu"), threads=None, config={}, int8=True
    )
    place, _ = form.corrected
    name = session.get_outputs()[place].name
    differences = []
    for waveform in waveforms:
        lengths = np.array([len(waveform)], np.int64)
        inputs = {"waveform": waveform[None], "lengths": lengths}
        (found,) = session.run([name], inputs)
        with torch.inference_mode():
            expected = form(torch.from_numpy(waveform)[None], torch.from_numpy(lengths))[place]
        before = form.head.before
        difference = before(torch.from_numpy(found)) - before(expected)
        differences.append(difference[0].numpy())
    shift: npt.NDArray[np.float32] = np.mean(differences, axis=0, dtype=np.float32)
    return shift


def correct_bias(model: ir.Model, bias: str, shift: npt.NDArray[np.float32]) -> None:
    """Subtract a shift [width] from the bias of this name, in place."""
    initializer = model.graph.initializers[bias]
    assert initializer.const_value is not None
    initializer.const_value = ir.tensor(initializer.const_value.numpy() - shift, name=bias)
