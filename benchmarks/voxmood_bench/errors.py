"""The errors of benchmarks."""

from voxmood import VoxmoodError


class BenchmarkError(VoxmoodError, RuntimeError):
    """Something could not be measured."""
