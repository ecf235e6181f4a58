"""The weights of a checkpoint, in safetensors or in PyTorch's format, whole or in shards."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from voxmood_export.checkpoint.files import WEIGHTS, CheckpointFiles, index_of

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_weights(files: CheckpointFiles) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, in the types in which they are stored.

    Raises:
        CheckpointError: a file is missing or damaged, or holds more than tensors.
    """
    for weights in WEIGHTS:
        if files.has(weights):
            return _read(files, weights)
        if files.has(index_of(weights)):
            return _read_shards(files, index_of(weights))
    raise files.error(WEIGHTS[0], f"is missing, and so is {WEIGHTS[1]}; a checkpoint needs one.")


def first_names(names: list[str]) -> str:
    """Return the first three names of tensors, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _read_shards(files: CheckpointFiles, index: str) -> dict[str, Tensor]:
    listed = files.read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise files.error(index, "has no weight_map that lists the shards; save the model again.")
    for shard in listed.values():
        # Whoever wrote the index chose the names; none may lead out of the folder.
        if not isinstance(shard, str) or re.fullmatch(r"\w[\w.-]*", shard) is None:
            raise files.error(index, f"lists {shard!r}, which is not a file name; save it again.")
    shards = sorted(set(listed.values()))
    for shard in shards:
        if not files.has(shard):
            raise files.error(shard, f"is missing; {index} lists it.")
    state: dict[str, Tensor] = {}
    for shard in shards:
        state |= _read(files, shard)
    return state


def _read(files: CheckpointFiles, name: str) -> dict[str, Tensor]:
    remedy = "save the model with save_pretrained, which writes model.safetensors."
    state = read_file(files, name, remedy)
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise files.error(
            name,
            "is a training checkpoint, whose tensors are inside other objects; save the model "
            "with save_pretrained.",
        )
    return {_modern(str(key)): tensor for key, tensor in state.items()}


def read_file(files: CheckpointFiles, name: str, remedy: str) -> object:
    """Return what a file of safetensors or PyTorch holds, without running anything in it.

    Args:
        files: the checkpoint's.
        name: the file.
        remedy: what to do about a file that holds more than tensors.

    Raises:
        CheckpointError: the file is missing or damaged, or holds more than tensors.
    """
    path = files.check(name)
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except pickle.UnpicklingError as error:
        raise files.error(
            name,
            "holds more than tensors or is not a file of PyTorch, and voxmood loads nothing else; "
            f"{remedy}",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        kind = "safetensors" if path.suffix == ".safetensors" else "PyTorch"
        raise files.error(
            name, f"is not a whole {kind} file; copy or download it again."
        ) from error
    except Exception as error:  # what else damaged pickles raise
        raise files.error(name, f"cannot be read as weights ({type(error).__name__}).") from error


def _unpickle(path: Path) -> object:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; the result says enough
        # weights_only refuses every pickle that holds more than tensors.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def _modern(name: str) -> str:
    """Return a name with weight norm spelled as PyTorch has done since 2.1."""
    name = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", name)
    return re.sub(r"\.weight_v$", ".parametrizations.weight.original1", name)
