"""Bundles on a hub: files of the repository `owner/name`, fetched into huggingface_hub's cache.

The endpoint, the cache, the token and offline mode are set as always for huggingface_hub: by
HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from voxmood.errors import MissingExtraError, MissingFileError

REACH_SECONDS = 3
"""How long to wait for the first answer of the hub, before only the cache is used."""

_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")


class Repository:
    """A repository on a hub.

    Once a file has been fetched, all others are taken from the same commit.

    Args:
        name: the name on the hub, `owner/name`.
        revision: a branch, tag or commit; None means the main branch.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision
        self._reached: bool | None = None

    def fetch(self, files: Iterable[str]) -> Path:
        """Fetch files into the cache, unless it already holds them, and return their folder.

        Args:
            files: the names of the files in the repository.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
            MissingFileError: the repository, the revision or a file does not exist, or cannot be
                fetched.
        """
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{self.name}: no such folder; to fetch it from a hub: pip install 'voxmood[hub]'."
            ) from error
        for file in files:
            try:
                cached_only = not self._is_reached(file)
                path = Path(
                    hf_hub_download(
                        self.name, file, revision=self.revision, local_files_only=cached_only
                    )
                )
            except LocalEntryNotFoundError as error:
                raise MissingFileError(
                    f"{self.name}: no such folder, {file} is not in the cache, and the hub cannot "
                    "be reached or HF_HUB_OFFLINE is set."
                ) from error
            except EntryNotFoundError as error:
                raise MissingFileError(
                    f"{self.name}: has no {file} on the hub, so it is not a bundle; if it is a "
                    f"checkpoint, `voxmood export {self.name} FOLDER` makes a bundle of it."
                ) from error
            except Exception as error:  # errors of the client and of its HTTP library
                raise MissingFileError(
                    f"{self.name}: no such folder, and the hub did not send {file} ({error})."
                ) from error
            self.revision = path.parent.name  # the cache names its folders after commits
        return path.parent

    def _is_reached(self, file: str) -> bool:
        """Return whether the hub answers at all; it is asked once.

        Without a network, huggingface_hub itself would try six times, for 23 s or more, before it
        takes the file from the cache.
        """
        if self._reached is None:
            from huggingface_hub import hf_hub_url
            from huggingface_hub.utils import get_session

            try:
                url = hf_hub_url(self.name, file, revision=self.revision)
                get_session().head(url, timeout=REACH_SECONDS)
                self._reached = True
            except Exception:  # errors of its HTTP library, and of its offline mode
                self._reached = False
        return self._reached


def read_id(name: str) -> Repository | None:
    """Return the repository that `owner/name` or `owner/name@revision` means.

    Args:
        name: any text.

    Returns:
        The repository; None if the text has another form.
    """
    match = _ID.fullmatch(name)
    return Repository(match["name"], match["revision"]) if match else None
