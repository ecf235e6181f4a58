"""Whether transformers' own class computes what the authors of a checkpoint did."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from voxmood_export.checkpoint import Checkpoint
from voxmood_export.heads.superb import Superb


@dataclass(frozen=True)
class Original:
    """State how a checkpoint is run in PyTorch.

    Attributes:
        has_class: whether transformers has a class with the checkpoint's head. If it has none, it
            gives the checkpoint another head, with random weights.
        own_class: whether the class of the installed transformers computes what 4.57 does.
        how: a sentence for the report.
    """

    has_class: bool
    own_class: bool
    how: str


def original(checkpoint: Checkpoint) -> Original:
    """Return how a checkpoint is run in PyTorch."""
    installed, model = version("transformers"), checkpoint.model
    if not isinstance(model.head, Superb):
        return Original(
            False,
            False,
            "It runs the checkpoint as voxmood_export loads it, since transformers has no class "
            "with its head.",
        )
    config = model.config
    summed = config.use_weighted_layer_sum and config.do_stable_layer_norm
    if summed and not installed.startswith("4."):
        return Original(
            True,
            False,
            f"It computes what transformers 4.57 does; the own class of transformers {installed} "
            "sums up other layers and gives other answers.",
        )
    return Original(True, True, f"It is the own class of transformers {installed}.")
