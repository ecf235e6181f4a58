"""The files of a checkpoint, which are in a folder or come from the hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxmood_export.errors import CheckpointError

CONFIG = "config.json"
EXTRACTOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where transformers 5 keeps the settings of the feature extractor, with those of a tokenizer."""

CARD = "README.md"
FUNASR_CONFIG = "config.yaml"
FUNASR_WEIGHTS = "model.pt"
TOKENS = "tokens.txt"
"""The files of a checkpoint of FunASR."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The names of files of weights, the preferred one first. An index lists shards of them."""

LICENSES = tuple(
    f"{name}{suffix}"
    for name in ("LICENSE", "LICENCE", "MODEL_LICENSE", "COPYING")
    for suffix in ("", ".txt", ".md")
)
"""The names of files that hold the text of a license, the preferred one first."""

SMALL_FILES = (CONFIG, EXTRACTOR, PROCESSOR, CARD, FUNASR_CONFIG, TOKENS, *LICENSES)
SHARDS = ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")
TRAINING = (".ckpt", ".pt", ".pth")
"""Suffixes of the files in which other libraries save the state of a training."""

GIT_LFS = b"version https://git-lfs"
"""The first bytes of the text that replaces a large file until Git LFS fetches it."""


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message."""
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__


def index_of(weights: str) -> str:
    """Return the name of the index that lists the shards of a file of weights."""
    return f"{weights}.index.json"


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint's files.

    Attributes:
        source: the folder or hub id as the user wrote it, for error messages.
        folder: where the files are.
        name: the hub id or the folder's name.
        revision: the commit on the hub, or "" for a folder.
    """

    source: str
    folder: Path
    name: str
    revision: str

    def error(self, file: str, what: str) -> CheckpointError:
        """Return an error that says what is wrong with a file."""
        return CheckpointError(f"{self.source.rstrip('/')}/{file}: {what}")

    def has(self, file: str) -> bool:
        """Return whether the file exists."""
        return (self.folder / file).is_file()

    @property
    def of_funasr(self) -> bool:
        """Whether FunASR wrote the checkpoint: it has files of FunASR and no weights of others."""
        weights = [name for each in WEIGHTS for name in (each, index_of(each))]
        return any(map(self.has, (FUNASR_CONFIG, TOKENS))) and not any(map(self.has, weights))

    def check(self, file: str) -> Path:
        """Return a file's path.

        Raises:
            CheckpointError: the file is missing, empty or a Git LFS pointer, or cannot be read.
        """
        path = self.folder / file
        if not path.is_file():
            raise self.error(file, "is missing; a checkpoint needs it.")
        try:
            with path.open("rb") as opened:
                begin = opened.read(len(GIT_LFS))
        except OSError as error:
            raise self.error(file, f"cannot be read ({error.strerror}).") from error
        if not begin:
            raise self.error(file, "is empty; copy or download it again.")
        if begin == GIT_LFS:
            raise self.error(file, "is a Git LFS pointer; fetch the file with `git lfs pull`.")
        return path

    def read_json(self, file: str) -> dict[str, Any]:
        """Return the JSON object that a file holds.

        Raises:
            CheckpointError: the file is missing or holds something else.
        """
        path = self.check(file)
        try:
            content = json.loads(path.read_bytes())
        except UnicodeDecodeError:
            raise self.error(file, "is not UTF-8 text; write it as JSON in UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise self.error(file, f"is not valid JSON ({error}); correct it.") from None
        if not isinstance(content, dict):
            raise self.error(file, "is not a JSON object, {...}; save the model again.")
        return content


def find_files(source: str, revision: str | None) -> CheckpointFiles:
    """Return the files of a checkpoint, from the hub if no such folder exists.

    Raises:
        CheckpointError: there is no such checkpoint, or the folder is not one of transformers.
    """
    if not source:
        raise CheckpointError("the name of the checkpoint is empty; is a variable not set?")
    folder = Path(source)
    if folder.is_file():
        raise CheckpointError(f"{source}: is a file; name the folder that holds it.")
    if not folder.is_dir():
        return _download(source, revision)
    if revision:
        raise CheckpointError(f"{source}: is a folder and has no revision; leave --revision out.")
    files = CheckpointFiles(source, folder, folder.resolve().name, "")
    if not files.name.isprintable():
        raise CheckpointError(
            f"{source!r}: the folder's name holds characters that cannot be printed; rename it."
        )
    if not files.has(CONFIG) and not files.of_funasr:
        training = sorted(each.name for each in folder.iterdir() if each.suffix in TRAINING)
        if training:
            raise CheckpointError(
                f"{source}: holds a training checkpoint ({training[0]}) and no config.json; save "
                "the model with transformers' save_pretrained and export that folder."
            )
    return files


def _download(source: str, revision: str | None) -> CheckpointFiles:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetch(patterns: list[str]) -> Path:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns))

    try:
        for weights, shards in zip(WEIGHTS, SHARDS, strict=True):
            folder = fetch([*SMALL_FILES, weights, index_of(weights), shards])
            # The hub's cache names its folders by commit.
            files = CheckpointFiles(source, folder, source, folder.name)
            if files.of_funasr:
                fetch([FUNASR_WEIGHTS])
                break
            if files.has(weights) or files.has(index_of(weights)):
                break
    except HFValidationError as error:
        raise CheckpointError(
            f"{source}: no such folder exists, and the name is not a hub id; check the name."
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{source}: no such folder exists, and the hub has no repository of this name that you "
            "may read; check the name, and log in if the repository is private."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{source}: has no revision {revision!r} on the hub.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise CheckpointError(
            f"{source}: no such folder exists, the cache does not have it, and the hub is out of "
            "reach or HF_HUB_OFFLINE is set."
        ) from error
    except Exception as error:  # the hub's client raises its own and its HTTP library's errors
        raise CheckpointError(
            f"{source}: no such folder exists, and downloading failed ({first_line(error)})."
        ) from error
    return files
