"""The errors of benchmarks."""

from voxmood.errors import VoxmoodError


class BenchmarkError(VoxmoodError, RuntimeError):
    """Something could not be measured."""


class DatasetError(VoxmoodError, ValueError):
    """A dataset that is incomplete, has another layout, or has labels that the model lacks."""


class ReportError(VoxmoodError, ValueError):
    """A file that is not a report of this suite, or that belongs to another run."""
