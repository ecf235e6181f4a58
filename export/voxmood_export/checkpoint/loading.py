"""Loading of checkpoints.

It does without `from_pretrained`, which makes random weights for whatever a file lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from voxmood_export.checkpoint.card import read_license, read_license_text
from voxmood_export.checkpoint.configuration import Settings, read_extractor, read_settings, renamed
from voxmood_export.checkpoint.files import CONFIG, CheckpointFiles, find_files, first_line
from voxmood_export.checkpoint.funasr import read_funasr
from voxmood_export.checkpoint.weights import FLOATS, first_names, read_weights
from voxmood_export.errors import CheckpointError
from voxmood_export.heads import HEADS, Head
from voxmood_export.network.emotion2vec import Emotion2vecFeatureExtractor
from voxmood_export.network.original import OriginalNetwork

TRAINING_ONLY = {"masked_spec_embed"}
"""Weights that only training uses, which a checkpoint may have or lack."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and how to feed it.

    Attributes:
        model: the network, in float32 and in evaluation mode.
        extractor: makes the network's input from a waveform.
        labels: the labels, or the names of a regression's values, in the order of the logits.
        name: the hub id or the folder's name.
        revision: the commit on the hub, or "" for a folder.
        license: the license that the model card names, or "unknown".
        license_text: the lines of the license's text, if the checkpoint has it.
        original_labels: the entries of FunASR's `tokens.txt` that the labels are made of.
    """

    model: OriginalNetwork
    extractor: Wav2Vec2FeatureExtractor
    labels: tuple[str, ...]
    name: str
    revision: str
    license: str
    license_text: tuple[str, ...] = ()
    original_labels: tuple[str, ...] = ()


def load_checkpoint(
    source: str, revision: str | None = None, labels: Mapping[str, str] | None = None
) -> Checkpoint:
    """Return a checkpoint from a folder, or from the hub if no such folder exists.

    Args:
        source: a folder, or a hub id such as `superb/wav2vec2-large-superb-er`.
        revision: a branch, tag or commit of a hub id.
        labels: another name for each of the checkpoint's labels; None keeps them.

    Raises:
        CheckpointError: the checkpoint is not found, damaged, incomplete or not supported, or does
            not have these labels.
    """
    files = find_files(source, revision)
    if files.of_funasr:
        return _load_funasr(files, labels)
    settings = read_settings(files, labels)
    extractor = settings.extractor or read_extractor(files)
    state = read_weights(files)
    try:
        with torch.device("meta"):
            encoder: PreTrainedModel = settings.family.encoder(settings.configuration)
            heads = [head(settings.configuration) for head in HEADS]
    except Exception as error:  # whatever transformers raises of sizes that do not fit together
        raise files.error(
            CONFIG, f"describes a network that cannot be built ({first_line(error)})."
        ) from error
    head = _recognized(files, settings, state, heads)
    _assign(files, encoder, f"{settings.prefix}.", head, state)
    model = OriginalNetwork(encoder, head, settings.task).eval()
    return Checkpoint(
        model,
        extractor,
        settings.labels,
        files.name,
        files.revision,
        read_license(files),
        read_license_text(files),
    )


def _needed(names: set[str]) -> set[str]:
    return {name for name in names if name.rpartition(".")[2] not in TRAINING_ONLY}


def _recognized(
    files: CheckpointFiles, settings: Settings, state: dict[str, Tensor], heads: list[Head]
) -> Head:
    """Return the head whose weights a checkpoint has, or else the one that is most like them."""
    prefix = f"{settings.prefix}."
    found = {name for name in _needed(set(state)) if not name.startswith(prefix)}
    asked = {head: set(head.state_dict()) for head in heads}
    whole = [head for head in heads if asked[head] <= found]
    if len(whole) > 1:
        titles = " and ".join(head.title for head in whole)
        raise CheckpointError(
            f"{files.source}: has two heads at once, {titles}; save the model with one of them."
        )
    best = max(heads, key=lambda head: len(asked[head] & found) / len(asked[head] | found))
    if asked[best] != found and settings.own_code:
        raise files.error(
            CONFIG,
            f"wants to run code of its own ({settings.own_code}), which voxmood never does, and "
            "the weights do not fit a head that it knows: the checkpoint "
            f"{_differences(asked[best], found)}, unlike {best.title}.",
        )
    if complaint := best.complaint(settings.configuration):
        raise files.error(CONFIG, complaint)
    return best


def _differences(asked: set[str], found: set[str]) -> str:
    missing, extra = (first_names(sorted(names)) for names in (asked - found, found - asked))
    return " and ".join(
        text for text in (missing and f"lacks {missing}", extra and f"has {extra}") if text
    )


def _load_funasr(files: CheckpointFiles, names: Mapping[str, str] | None) -> Checkpoint:
    found = read_funasr(files)
    labels = found.tokens.labels
    return Checkpoint(
        found.model,
        Emotion2vecFeatureExtractor(do_normalize=found.do_normalize),
        labels if names is None else renamed(files, labels, names),
        files.name,
        files.revision,
        read_license(files),
        read_license_text(files),
        found.tokens.originals,
    )


def _assign(
    files: CheckpointFiles,
    encoder: PreTrainedModel,
    prefix: str,
    head: Head,
    state: dict[str, Tensor],
) -> None:
    """Give an encoder and a head their weights, which must be exactly those that they need."""
    expected = {f"{prefix}{name}": tensor for name, tensor in encoder.state_dict().items()}
    expected |= head.state_dict()

    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"{files.source}: {what}")

    for name in sorted(expected.keys() & state.keys()):
        if expected[name].is_floating_point() and state[name].dtype not in FLOATS:
            kind = str(state[name].dtype).removeprefix("torch.")
            raise wrong(f"{name} is {kind}; export the model from before it was quantized.")
    asked, found = _needed(set(expected)), _needed(set(state))
    of_encoder = {name for name in asked if name.startswith(prefix)}
    if of_encoder < found and found.isdisjoint(asked - of_encoder):
        raise wrong(
            f"has a head that is not known, with {first_names(sorted(found - of_encoder))}; "
            "export/README.md says how to add one."
        )
    if differences := _differences(asked, found):
        raise wrong(
            f"{differences}, unlike {type(encoder).__name__} with {head.title}; it was made for "
            "another architecture or was not saved whole."
        )
    has, needs = (weights[f"{head.label_layer}.weight"].shape for weights in (state, expected))
    if has[1:] == needs[1:] and has != needs:
        raise files.error(
            CONFIG,
            f"names {needs[0]} labels, but the weights are for {has[0]}; list every label in "
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
    for name in sorted(_needed(set(weights))):
        if not weights[name].isfinite().all():
            raise wrong(
                f"{name} holds values that are not finite; take a checkpoint from before training "
                "diverged."
            )
    for module, begin in ((encoder, prefix), (head, "")):
        module.load_state_dict(
            {name: weights[f"{begin}{name}"] for name in module.state_dict()}, assign=True
        )
