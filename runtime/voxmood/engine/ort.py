"""ONNX Runtime, imported in the one way that keeps it silent and says what to do without it."""

from __future__ import annotations

import os

# ONNX Runtime reads this when it is imported. Since 1.29, its telemetry is on by default on Linux.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime as onnxruntime
except ModuleNotFoundError as error:
    from voxmood.errors import MissingExtraError

    raise MissingExtraError(
        "ONNX Runtime is not installed; choose a flavor: pip install 'voxmood[cpu]', "
        "'voxmood[gpu]' or 'voxmood[openvino]'."
    ) from error
