"""Heads: what turns hidden states into answers, each recognized by the names of its weights.

To add a head, write a module with a sub-class of `Head`, add it to `HEADS`, and test it as
`tests/export/test_heads.py` does. The runtime loads graphs of known operators only; if the head has
another one, add it to `OPERATORS` in `voxmood/bundle/graph_file.py`.
"""

from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.heads.dense_tanh import DenseOutProj, DenseOutput
from voxmood_export.heads.odyssey import Odyssey
from voxmood_export.heads.superb import Superb

HEADS: list[type[Head]] = [Superb, DenseOutProj, DenseOutput, Odyssey]
"""The known heads."""

__all__ = ["HEADS", "Head", "HeadForm"]
