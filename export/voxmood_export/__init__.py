"""Export of checkpoints to verified bundles, and their calibration on labeled recordings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from voxmood_export.errors import (
    AxesError,
    BoundsError,
    CheckpointError,
    ExportError,
    LogitsError,
    NamesError,
    OutputExistsError,
    ShapesError,
    VerificationError,
)

if TYPE_CHECKING:
    from voxmood_export.calibration.calibrate import Calibrated, calibrate
    from voxmood_export.export import export_bundle

__all__ = [
    "AxesError",
    "BoundsError",
    "Calibrated",
    "CheckpointError",
    "ExportError",
    "LogitsError",
    "NamesError",
    "OutputExistsError",
    "ShapesError",
    "VerificationError",
    "calibrate",
    "export_bundle",
]

LATE = {
    "Calibrated": "voxmood_export.calibration.calibrate",
    "calibrate": "voxmood_export.calibration.calibrate",
    "export_bundle": "voxmood_export.export",
}
"""The names that are imported on first use, because their modules need PyTorch or ONNX."""


def __getattr__(name: str) -> Any:
    """Return one of the names in `LATE`."""
    if name not in LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(LATE[name]), name)
