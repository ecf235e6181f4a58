"""The errors of an export."""

from voxmood.errors import VoxmoodError


class CheckpointError(VoxmoodError, ValueError):
    """A checkpoint that is incomplete, damaged, or of a kind that is not supported."""


class OutputExistsError(VoxmoodError, FileExistsError):
    """The output already exists, and may not or must not be replaced."""


class ExportError(VoxmoodError, RuntimeError):
    """The bundle could not be written."""


class VerificationError(ExportError):
    """A graph does not compute what the checkpoint does, so no bundle was written."""


class NamesError(VerificationError):
    """The inputs or outputs of a graph have other names than the contract says."""


class AxesError(VerificationError):
    """An axis of a graph is fixed that the contract leaves free, or the other way round."""


class ShapesError(VerificationError):
    """An output has another shape than the original model's."""


class LogitsError(VerificationError):
    """The logits of the fp32 graph differ from the original model's."""


class BoundsError(VerificationError):
    """A precision differs more from the original model than the bounds allow."""
