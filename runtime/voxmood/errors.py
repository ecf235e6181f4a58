"""Every error that voxmood raises on purpose.

Each one also inherits from the builtin error that fits, so that code which does not know voxmood
can catch it. The messages name what is wrong and what to do about it.
"""


class VoxmoodError(Exception):
    """The parent of all errors that voxmood raises on purpose."""


class AudioError(VoxmoodError, ValueError):
    """The audio cannot be read, or the model cannot take it."""


class BundleError(VoxmoodError, ValueError):
    """The bundle is incomplete, altered, newer than this release, or contradicts itself."""


class CalibrationError(VoxmoodError, ValueError):
    """The recordings do not calibrate the bundle, or it is not calibrated for what is asked."""


class ProviderError(VoxmoodError, RuntimeError):
    """The execution provider is not installed, or does not start."""


class ManifestError(VoxmoodError, ValueError):
    """The list of recordings cannot be used."""


class AnnotationError(VoxmoodError, ValueError):
    """The list of segments cannot be used."""


class OutputError(VoxmoodError, OSError):
    """The output already exists, belongs to another run, or cannot be written."""


class ClusterError(VoxmoodError, ConnectionError):
    """Other machines, or their storage, cannot be reached."""


class ForkError(VoxmoodError, RuntimeError):
    """The model was loaded before this process was forked, so it cannot run here."""


class MissingFileError(VoxmoodError, FileNotFoundError):
    """The file or folder does not exist."""


class MissingExtraError(VoxmoodError, ImportError):
    """The extra that this part of voxmood needs is not installed."""
