"""What can go wrong between a checkpoint and a bundle."""

from voxmood.errors import VoxmoodError


class CheckpointError(VoxmoodError, ValueError):
    """A checkpoint that is incomplete, damaged, or of a kind that is not supported."""


class OutputExistsError(VoxmoodError, FileExistsError):
    """The output folder is there already."""


class ExportError(VoxmoodError, RuntimeError):
    """The bundle could not be written."""


class VerificationError(ExportError):
    """The graph does not do what the checkpoint does; no bundle was written."""


class NamesError(VerificationError):
    """Inputs or outputs are not called as the contract says."""


class AxesError(VerificationError):
    """An axis is fixed that the contract leaves free, or the other way round."""


class ShapesError(VerificationError):
    """An output has another shape than the original model's."""


class ValuesError(VerificationError):
    """An output has other values than the original model's."""


class BoundsError(VerificationError):
    """A precision is further from the original model than it was asked to be."""
