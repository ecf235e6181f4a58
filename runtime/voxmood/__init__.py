"""Speech emotion recognition that runs anywhere ONNX Runtime runs.

>>> import voxmood
>>> model = voxmood.load()
>>> model.predict("clip.wav").label
"""

from voxmood.errors import (
    AudioError,
    BundleError,
    ForkError,
    MissingExtraError,
    MissingFileError,
    ProviderError,
    VoxmoodError,
)
from voxmood.model import Model, Prediction, load

__version__ = "0.1.0"
__all__ = [
    "AudioError",
    "BundleError",
    "ForkError",
    "MissingExtraError",
    "MissingFileError",
    "Model",
    "Prediction",
    "ProviderError",
    "VoxmoodError",
    "load",
]
