"""Export of checkpoints to verified bundles; `export_bundle` does it all."""

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
    from voxmood_export.export import export_bundle

__all__ = [
    "AxesError",
    "BoundsError",
    "CheckpointError",
    "ExportError",
    "LogitsError",
    "NamesError",
    "OutputExistsError",
    "ShapesError",
    "VerificationError",
    "export_bundle",
]


def __getattr__(name: str) -> Any:
    """Return `export_bundle`, which is imported on first use because it needs PyTorch."""
    if name != "export_bundle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from voxmood_export.export import export_bundle

    return export_bundle
