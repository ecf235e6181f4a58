"""Checkpoint to verified bundle."""

from voxmood_export.errors import (
    AxesError,
    BoundsError,
    CheckpointError,
    ExportError,
    NamesError,
    OutputExistsError,
    ShapesError,
    ValuesError,
    VerificationError,
)

__all__ = [
    "AxesError",
    "BoundsError",
    "CheckpointError",
    "ExportError",
    "NamesError",
    "OutputExistsError",
    "ShapesError",
    "ValuesError",
    "VerificationError",
]
