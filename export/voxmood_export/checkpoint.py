"""Checkpoints: Hugging Face folders and hub ids to a network with exactly its weights.

Loaded without `from_pretrained`, which makes random weights for whatever a file lacks and goes on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from voxmood_export.errors import CheckpointError

ARCHITECTURES = {
    "Wav2Vec2ForSequenceClassification": (Wav2Vec2ForSequenceClassification, Wav2Vec2Config),
    "HubertForSequenceClassification": (HubertForSequenceClassification, HubertConfig),
    "WavLMForSequenceClassification": (WavLMForSequenceClassification, WavLMConfig),
}
"""Supported networks and their configurations, by the name in `config.json`."""

REFUSED = {
    "Wav2Vec2ForSpeechClassification": " (its head is code of its authors, not of transformers)",
    "EmotionModel": " (its head is code of its authors, not of transformers)",
    "Wav2Vec2BertForSequenceClassification": " (it takes filter banks, not waveforms)",
    "Data2VecAudioForSequenceClassification": " (its positional convolutions are of another kind)",
}
"""Look-alikes, and why they are not supported."""

REQUIRED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "adapter_attn_dim": None,
}
"""What the inference form takes for granted of a configuration."""

TRAINING_ONLY = {"masked_spec_embed"}
"""Weights that only training uses; checkpoints may have or lack them."""

FILES = ["config.json", "preprocessor_config.json", "model.safetensors", "README.md"]


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
    folder = Path(source)
    commit = ""
    name = source
    if folder.is_dir():
        if revision:
            raise CheckpointError(f"{source}: is a folder, which has no revision; leave it out.")
        name = folder.resolve().name
    else:
        folder = _download(source, revision)
        commit = folder.name  # the hub's cache names its snapshots by commit

    config = _read_json(folder / "config.json")
    network, configuration = _supported(source, config)
    extractor = _extractor(source, folder)
    state = _read_weights(source, folder)
    with torch.device("meta"):
        model = network(configuration)
    _assign(source, model, state)
    labels = tuple(configuration.id2label[index] for index in range(configuration.num_labels))
    return Checkpoint(model.eval(), extractor, labels, name, commit, _licence(folder))


def _download(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=FILES))
        if not (folder / "model.safetensors").exists():
            weights = "pytorch_model.bin"
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=[weights]))
    except HFValidationError as error:
        raise CheckpointError(f"{source}: no such folder, and no hub id either.") from error
    except Exception as error:  # the hub's client raises its own and its HTTP library's errors
        raise CheckpointError(
            f"{source}: no such folder, and the hub did not give it ({error})."
        ) from error
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; a checkpoint folder needs it.")
    try:
        return cast(dict[str, Any], json.loads(path.read_bytes()))
    except ValueError as error:
        raise CheckpointError(f"{path}: is not valid JSON ({error}).") from None


def _supported(source: str, config: dict[str, Any]) -> tuple[Any, Any]:
    if "auto_map" in config:
        raise CheckpointError(
            f"{source}: wants to run code of its own (auto_map), which voxmood never does. "
            "Save it as one of the supported architectures."
        )
    names = config.get("architectures") or ["none"]
    if len(names) != 1 or names[0] not in ARCHITECTURES:
        raise CheckpointError(
            f"{source}: its architecture {', '.join(names)} is not supported"
            f"{REFUSED.get(names[0], '')}; supported: {', '.join(ARCHITECTURES)}."
        )
    network, kind = ARCHITECTURES[names[0]]
    configuration = kind.from_dict(config)
    for key, value in REQUIRED.items():
        found = getattr(configuration, key, value)
        if found != value:
            raise CheckpointError(f"{source}: {key} is {found!r}; only {value!r} is supported.")
    return network, configuration


def _extractor(source: str, folder: Path) -> Wav2Vec2FeatureExtractor:
    settings = _read_json(folder / "preprocessor_config.json")
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor" or settings.get("feature_size", 1) != 1:
        raise CheckpointError(f"{source}: its feature extractor {kind} is not supported.")
    return Wav2Vec2FeatureExtractor.from_dict(settings)


def _read_weights(source: str, folder: Path) -> dict[str, torch.Tensor]:
    safetensors, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if safetensors.is_file():
            state = load_file(safetensors)
        elif pickled.is_file():
            # weights_only refuses every pickle that holds more than tensors.
            state = torch.load(
                pickled, map_location="cpu", weights_only=True, mmap=_is_zip(pickled)
            )
        else:
            raise CheckpointError(f"{source}: has neither {safetensors.name} nor {pickled.name}.")
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{source}: its weights are damaged ({error}).") from error
    except Exception as error:  # pickle.UnpicklingError and what damaged pickles raise
        raise CheckpointError(f"{source}: its weights are refused ({error}).") from error
    return {_modern(name): tensor.float() for name, tensor in state.items()}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _modern(name: str) -> str:
    """Weight norm had other names before PyTorch 2.1 and in checkpoints of that time."""
    name = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", name)
    return re.sub(r"\.weight_v$", ".parametrizations.weight.original1", name)


def _assign(source: str, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
    def needed(names: set[str]) -> list[str]:
        return sorted(name for name in names if name.rpartition(".")[2] not in TRAINING_ONLY)

    expected = model.state_dict()
    missing = needed(expected.keys() - state.keys())
    extra = needed(state.keys() - expected.keys())
    if missing or extra:
        what = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)}"] * bool(extra)
        raise CheckpointError(
            f"{source}: {' and '.join(what)}, unlike {type(model).__name__}; it was made for "
            "another architecture or was not saved whole."
        )
    for name in expected.keys() & state.keys():
        if expected[name].shape != state[name].shape:
            raise CheckpointError(
                f"{source}: {name} is of shape {tuple(state[name].shape)}, its config.json asks "
                f"for {tuple(expected[name].shape)}."
            )
    for name in expected.keys() - state.keys():
        state[name] = torch.zeros(expected[name].shape)
    model.load_state_dict(
        {name: tensor for name, tensor in state.items() if name in expected}, assign=True
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _licence(folder: Path) -> str:
    card = folder / "README.md"
    text = card.read_text(errors="replace") if card.is_file() else ""
    header = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)", header[1], re.MULTILINE) if header else None
    return found[1].strip("\"'") if found else "unknown"
