"""Every error that voxmood raises on purpose.

Each also inherits from the builtin that fits, so that code which knows nothing of voxmood can
catch it. Messages name the thing that is wrong and what to do about it.
"""


class VoxmoodError(Exception):
    """Any error of voxmood's own."""


class AudioError(VoxmoodError, ValueError):
    """Audio that cannot be read, or that the model cannot take."""


class BundleError(VoxmoodError, ValueError):
    """A bundle that is incomplete, altered, newer than this release, or contradicts itself."""


class ProviderError(VoxmoodError, RuntimeError):
    """An execution provider that is not there or does not start."""


class ManifestError(VoxmoodError, ValueError):
    """A list of recordings that cannot be used."""


class OutputError(VoxmoodError, OSError):
    """An output that exists already, is of another run, or cannot be written."""


class ClusterError(VoxmoodError, ConnectionError):
    """Other machines or their storage, which cannot be reached."""


class ForkError(VoxmoodError, RuntimeError):
    """A model that was loaded before a fork and is used in the child."""


class MissingFileError(VoxmoodError, FileNotFoundError):
    """A file or folder that is not there."""


class MissingExtraError(VoxmoodError, ImportError):
    """A part of voxmood whose extra is not installed."""
