"""The errors of benchmarks."""

from voxmood.errors import VoxmoodError


class BenchmarkError(VoxmoodError, RuntimeError):
    """Something could not be measured."""


class DatasetError(VoxmoodError, ValueError):
    """A dataset that is incomplete, laid out otherwise, or labelled with what a model lacks."""


class ReportError(VoxmoodError, ValueError):
    """A file that is no report of this suite, or holds another run."""
