"""Checkpoint to verified bundle."""

from voxmood_export.errors import (
    AxesError,
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
    "CheckpointError",
    "ExportError",
    "NamesError",
    "OutputExistsError",
    "ShapesError",
    "ValuesError",
    "VerificationError",
]
