"""All that `import voxmood` offers; loaded when the first of it is asked for."""

from voxmood.errors import (
    AudioError,
    BundleError,
    MissingExtraError,
    MissingFileError,
    ProviderError,
    VoxmoodError,
)
from voxmood.model import Model, Prediction, load
from voxmood.stream import Stream
from voxmood.timeline import Segment

__all__ = [
    "AudioError",
    "BundleError",
    "MissingExtraError",
    "MissingFileError",
    "Model",
    "Prediction",
    "ProviderError",
    "Segment",
    "Stream",
    "VoxmoodError",
    "load",
]
