"""Checkpoints: Hugging Face folders and hub ids to a network with exactly its weights.

Loaded without `from_pretrained`, which makes random weights for whatever a file lacks and goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from voxmood_export.checkpoint_files import CheckpointFiles, find_files, first_line
from voxmood_export.configuration import CONFIG, read_extractor, read_network
from voxmood_export.errors import CheckpointError
from voxmood_export.weights import FLOATS, read_weights

TRAINING_ONLY = {"masked_spec_embed"}
"""Weights that only training uses; checkpoints may have or lack them."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and how to feed it.

    Attributes:
        model: float32, in evaluation mode.
        extractor: makes the network's input from a waveform.
        labels: in the order of the logits.
        name: the hub id or the folder's name.
        revision: the commit on the hub, "" for a folder.
        licence: as the model card states it, else "unknown".
    """

    model: PreTrainedModel
    extractor: Wav2Vec2FeatureExtractor
    labels: tuple[str, ...]
    name: str
    revision: str
    licence: str


def load_checkpoint(source: str, revision: str | None = None) -> Checkpoint:
    """Loads a checkpoint from a folder, or from the hub where no such folder exists.

    Args:
        source: a folder, or an id such as `superb/wav2vec2-large-superb-er`.
        revision: a branch, tag or commit; for hub ids only.

    Raises:
        CheckpointError: it cannot be found, is damaged or incomplete, or is not supported.
    """
    files = find_files(source, revision)
    network, configuration = read_network(files)
    extractor = read_extractor(files)
    state = read_weights(files)
    try:
        with torch.device("meta"):
            model = network(configuration)
    except Exception as error:  # whatever transformers raises of sizes that do not fit together
        raise files.error(
            CONFIG, f"describes a network that cannot be ({first_line(error)})."
        ) from error
    _assign(files, model, state)
    labels = tuple(configuration.id2label[index] for index in range(configuration.num_labels))
    return Checkpoint(model.eval(), extractor, labels, files.name, files.revision, _licence(files))


def _assign(files: CheckpointFiles, model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Gives a network its weights, which must be exactly those that it needs."""
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
        what = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)}"] * bool(extra)
        raise wrong(
            f"{' and '.join(what)}, unlike {type(model).__name__}; it was made for another "
            "architecture or was not saved whole."
        )
    found, asked = (weights["classifier.weight"].shape for weights in (state, expected))
    if found[1:] == asked[1:] and found != asked:
        raise files.error(
            CONFIG,
            f"names {asked[0]} labels, and the weights are of {found[0]}; list every label in "
            "id2label, in the order of the logits.",
        )
    for name in sorted(expected.keys() & state.keys()):
        if expected[name].shape != state[name].shape:
            raise wrong(
                f"{name} is of shape {tuple(state[name].shape)}, its {CONFIG} asks for "
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


def _licence(files: CheckpointFiles) -> str:
    if not files.has("README.md"):
        return "unknown"
    text = (files.folder / "README.md").read_text(encoding="utf-8", errors="replace")
    header = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)", header[1], re.MULTILINE) if header else None
    licence = found[1].strip("\"'") if found else ""
    return licence if licence and licence.isprintable() else "unknown"
