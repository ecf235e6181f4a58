"""Loading of checkpoints.

It does without `from_pretrained`, which makes random weights for whatever a file lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from voxmood_export.checkpoint.card import read_license
from voxmood_export.checkpoint.configuration import read_extractor, read_network
from voxmood_export.checkpoint.files import CONFIG, CheckpointFiles, find_files, first_line
from voxmood_export.checkpoint.weights import FLOATS, read_weights
from voxmood_export.errors import CheckpointError

TRAINING_ONLY = {"masked_spec_embed"}
"""Weights that only training uses, which a checkpoint may have or lack."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and how to feed it.

    Attributes:
        model: the network, in float32 and in evaluation mode.
        extractor: makes the network's input from a waveform.
        labels: the labels in the order of the logits.
        name: the hub id or the folder's name.
        revision: the commit on the hub, or "" for a folder.
        license: the license that the model card names, or "unknown".
    """

    model: PreTrainedModel
    extractor: Wav2Vec2FeatureExtractor
    labels: tuple[str, ...]
    name: str
    revision: str
    license: str


def load_checkpoint(source: str, revision: str | None = None) -> Checkpoint:
    """Return a checkpoint from a folder, or from the hub if no such folder exists.

    Args:
        source: a folder, or a hub id such as `superb/wav2vec2-large-superb-er`.
        revision: a branch, tag or commit of a hub id.

    Raises:
        CheckpointError: the checkpoint is not found, damaged, incomplete or not supported.
    """
    files = find_files(source, revision)
    architecture, configuration = read_network(files)
    extractor = read_extractor(files)
    state = read_weights(files)
    try:
        with torch.device("meta"):
            model: PreTrainedModel = architecture.network(configuration)
    except Exception as error:  # whatever transformers raises of sizes that do not fit together
        raise files.error(
            CONFIG, f"describes a network that cannot be built ({first_line(error)})."
        ) from error
    _assign(files, model, state, architecture.head.label_layer)
    labels = tuple(configuration.id2label[index] for index in range(configuration.num_labels))
    license_name = read_license(files)
    return Checkpoint(model.eval(), extractor, labels, files.name, files.revision, license_name)


def _assign(
    files: CheckpointFiles, model: PreTrainedModel, state: dict[str, Tensor], label_layer: str
) -> None:
    """Give a network its weights, which must be exactly those that it needs."""
    expected = model.state_dict()

    def needed(names: set[str]) -> list[str]:
        return sorted(name for name in names if name.rpartition(".")[2] not in TRAINING_ONLY)

    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"{files.source}: {what}")

    for name in sorted(expected.keys() & state.keys()):
        if expected[name].is_floating_point() and state[name].dtype not in FLOATS:
            kind = str(state[name].dtype).removeprefix("torch.")
            raise wrong(f"{name} is {kind}; export the model from before it was quantized.")
    missing = needed(expected.keys() - state.keys())
    extra = needed(state.keys() - expected.keys())
    if missing or extra:
        differences = []
        if missing:
            differences.append(f"lacks {_some(missing)}")
        if extra:
            differences.append(f"has {_some(extra)}")
        raise wrong(
            f"{' and '.join(differences)}, unlike {type(model).__name__}; it was made for another "
            "architecture or was not saved whole."
        )
    found, asked = (weights[f"{label_layer}.weight"].shape for weights in (state, expected))
    if found[1:] == asked[1:] and found != asked:
        raise files.error(
            CONFIG,
            f"names {asked[0]} labels, but the weights are for {found[0]}; list every label in "
            "id2label, in the order of the logits.",
        )
    for name in sorted(expected.keys() & state.keys()):
        if expected[name].shape != state[name].shape:
            raise wrong(
                f"{name} has the shape {tuple(state[name].shape)}, but {CONFIG} asks for "
                f"{tuple(expected[name].shape)}."
            )
    weights = {
        name: state[name].to(tensor.dtype) if name in state else torch.zeros(tensor.shape)
        for name, tensor in expected.items()
    }
    for name in needed(set(weights)):
        if not weights[name].isfinite().all():
            raise wrong(
                f"{name} holds values that are not finite; take a checkpoint from before training "
                "diverged."
            )
    model.load_state_dict(weights, assign=True)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
