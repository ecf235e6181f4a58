"""Everything that `import voxmood` offers; it is imported when the first of it is used."""

from voxmood.annotations.summary import Summary, summarize
from voxmood.archive.batch import batch
from voxmood.comparison.compare import Comparison, compare
from voxmood.comparison.evaluation import Evaluation, evaluate
from voxmood.errors import (
    AnnotationError,
    AudioError,
    BundleError,
    CalibrationError,
    ClusterError,
    ForkError,
    ManifestError,
    MissingExtraError,
    MissingFileError,
    OutputError,
    ProviderError,
    VoxmoodError,
)
from voxmood.model import Model, load
from voxmood.results import Prediction, Segment, Span
from voxmood.stream import Stream

__all__ = [
    "AnnotationError",
    "AudioError",
    "BundleError",
    "CalibrationError",
    "ClusterError",
    "Comparison",
    "Evaluation",
    "ForkError",
    "ManifestError",
    "MissingExtraError",
    "MissingFileError",
    "Model",
    "OutputError",
    "Prediction",
    "ProviderError",
    "Segment",
    "Span",
    "Stream",
    "Summary",
    "VoxmoodError",
    "batch",
    "compare",
    "evaluate",
    "load",
    "summarize",
]
