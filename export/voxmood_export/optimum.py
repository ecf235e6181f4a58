"""The conversion of an inference form by Optimum, which the extra `optimum` installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimum.exporters.onnx import OnnxConfig
from optimum.exporters.onnx.convert import export
from optimum.utils import NormalizedConfig

from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.network.signature import Signature


class WaveformOnnxConfig(OnnxConfig):  # type: ignore[misc]
    """Tell Optimum the contract: waveforms and lengths go in, the task's outputs come out."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    signature: Signature

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Return the inputs with their dynamic axes."""
        return self.signature.inputs

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Return the outputs with their dynamic axes."""
        return self.signature.outputs

    def generate_dummy_inputs(self, framework: str = "pt", **shapes: Any) -> dict[str, Any]:
        """Return the clips for tracing."""
        return self.signature.example()


def convert(form: InferenceForm, signature: Signature, path: Path, opset: int) -> None:
    """Write a form's ONNX graph."""
    config = WaveformOnnxConfig(form.config, task="audio-classification")
    config.signature = signature
    # Optimum's repair of wrongly dynamic axes costs a whole session; verification checks axes.
    export(form, config, path, opset=opset, disable_dynamic_axes_fix=True)
