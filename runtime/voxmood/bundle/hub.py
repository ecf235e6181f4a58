"""Bundles on a hub: `owner/name` to a folder in huggingface_hub's cache.

The endpoint, the cache, the token and offline mode are huggingface_hub's: HF_ENDPOINT, HF_HOME,
HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from voxmood.errors import MissingExtraError, MissingFileError

_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")


class Repository:
    """A repository of a hub, at one commit from the first file on.

    Args:
        name: `owner/name`, as the hub calls it.
        revision: a branch, tag or commit; None takes the main branch.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision

    def fetch(self, files: Iterable[str]) -> Path:
        """Brings files into the cache, unless they are there; returns their folder.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
            MissingFileError: there is no such repository, revision or file, or it cannot be had.
        """
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{self.name}: no such folder; to take it from a hub: pip install 'voxmood[hub]'."
            ) from error
        for file in files:
            try:
                path = Path(hf_hub_download(self.name, file, revision=self.revision))
            except LocalEntryNotFoundError as error:
                raise MissingFileError(
                    f"{self.name}: no such folder, {file} is not in the cache, and the hub is out "
                    "of reach or HF_HUB_OFFLINE is set."
                ) from error
            except EntryNotFoundError as error:
                raise MissingFileError(
                    f"{self.name}: has no {file} on the hub, so it is no bundle; of a checkpoint "
                    f"make one with `voxmood export {self.name} FOLDER`."
                ) from error
            except Exception as error:  # the client raises its own and its HTTP library's errors
                raise MissingFileError(
                    f"{self.name}: no such folder, and the hub did not give {file} ({error})."
                ) from error
            self.revision = path.parent.name  # the cache names its folders by commit
        return path.parent


def read_id(name: str) -> Repository | None:
    """Return the repository that `owner/name` or `owner/name@revision` means; None for others."""
    match = _ID.fullmatch(name)
    return Repository(match["name"], match["revision"]) if match else None
