"""Speech emotion recognition that runs anywhere ONNX Runtime runs.

>>> import voxmood
>>> model = voxmood.load()
>>> model.predict("clip.wav").label
"""

from voxmood.comparison import Comparison, compare
from voxmood.errors import (
    AudioError,
    BundleError,
    ManifestError,
    MissingExtraError,
    MissingFileError,
    ProviderError,
    VoxmoodError,
)
from voxmood.model import Model, Prediction, load
from voxmood.stream import Stream
from voxmood.timeline import Segment

__version__ = "0.1.0"
__all__ = [
    "AudioError",
    "BundleError",
    "Comparison",
    "ManifestError",
    "MissingExtraError",
    "MissingFileError",
    "Model",
    "Prediction",
    "ProviderError",
    "Segment",
    "Stream",
    "VoxmoodError",
    "compare",
    "load",
]
