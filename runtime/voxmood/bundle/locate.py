"""Which bundle and which precision a name means, in Python and in every command alike."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from voxmood.audio.hints import missing_file_hint
from voxmood.bundle.description import PRECISIONS
from voxmood.bundle.hub import Repository, read_id
from voxmood.errors import BundleError, MissingFileError


@dataclass(frozen=True)
class Location:
    """The place of a bundle, and the precision of it that the caller wants.

    Attributes:
        name: the name that the caller gave, without the precision.
        place: the folder of the bundle, or its repository on a hub.
        precision: the precision, as `voxmood.load` takes it.
    """

    name: str
    place: Path | Repository
    precision: str

    def fetch(self, files: Iterable[str]) -> Path:
        """Return the folder of the bundle, into which files are first fetched from a hub.

        Args:
            files: the names of the files that are needed; where the bundle is a folder on this
                machine, they are not looked at.

        Raises:
            MissingExtraError: the bundle is on a hub, and huggingface_hub is not installed.
            MissingFileError: the hub does not have a file, or cannot be reached.
        """
        return self.place if isinstance(self.place, Path) else self.place.fetch(files)


def locate(source: str | os.PathLike[str] | None, precision: str = "auto") -> Location:
    """Return the place of the bundle that `NAME` or `NAME@PRECISION` means.

    A name can be a folder, a bundle that ships with voxmood (`voxmood-small`), or `owner/name` or
    `owner/name@revision` on a hub. They are tried in this order, and the first one that exists is
    taken. A hub is never asked for a name that can only be a path, such as `./model`, nor for one
    whose first part is an existing folder.

    Args:
        source: the name; None means the bundle that ships.
        precision: the precision, if the name does not give one.

    Raises:
        MissingFileError: the name is not that of a folder, of a shipped bundle or of a repository.
        BundleError: the name gives one precision and `precision` another one.
    """
    shipped = shipped_bundles()
    if source is None:
        if not shipped:
            raise MissingFileError(
                "no bundle ships with this installation; name one, for example "
                "voxmood.load('bundle'). `voxmood export CHECKPOINT BUNDLE` makes one."
            )
        name, folder = next(iter(shipped.items()))
        return Location(name, folder, precision)
    if not isinstance(source, (str, os.PathLike)) or isinstance(os.fspath(source), bytes):
        raise BundleError(
            f"a bundle is named by a path or a text, and this is a {type(source).__name__}: "
            f"{source!r:.80}."
        )
    name = os.fspath(source)
    if not name:
        raise MissingFileError(
            "the name of a bundle is empty; leave it out to use the bundle that ships."
        )
    try:
        Path(name).exists()
    except (OSError, ValueError) as error:  # it is too long, or holds a null character
        reason = getattr(error, "strerror", None) or error
        raise MissingFileError(
            f"{name[:80]!r}: cannot be the name of a bundle ({reason})."
        ) from error
    name, given = _split(name, shipped)
    if given and precision not in ("auto", given):
        raise BundleError(
            f"{name}@{given}: names the precision {given}, but {precision} is asked for as well; "
            "leave out one of them."
        )
    precision = given or precision
    if Path(name).is_dir():
        return Location(name, Path(name), precision)
    if name in shipped:
        return Location(name, shipped[name], precision)
    if Path(name).exists():
        raise MissingFileError(f"{name}: is a file, but a bundle is a folder; name the folder.")
    repository = read_id(name) if isinstance(source, str) else None
    if repository is None:
        hint = missing_file_hint(name) or "`voxmood export` makes one."
        raise MissingFileError(f"{name}: no such bundle. {hint}")
    owner = name.partition("/")[0]
    if Path(owner).is_dir():
        raise MissingFileError(
            f"{name}: no such bundle in the folder {owner}; because that folder exists, the bundle "
            "is not looked for on a hub."
        )
    return Location(name, repository, precision)


def _split(name: str, shipped: Container[str]) -> tuple[str, str | None]:
    """Return the name and the precision in `NAME@PRECISION`; None where it gives no precision.

    An @ may also belong to the name of a folder, or stand before a revision on a hub.
    """
    folder, _, given = name.rpartition("@")
    if Path(name).exists() or not folder:
        return name, None
    if given in PRECISIONS or folder in shipped or Path(folder).is_dir():
        return folder, given
    return name, None


def shipped_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that ship, by name.

    They lie in `models/` inside the installed package, or in `models/` of a checkout.
    """
    package = Path(__file__).parents[1]
    found: dict[str, Path] = {}
    for models in (package / "models", package.parent.parent / "models"):
        for description in sorted(models.glob("*/bundle/bundle.json")):
            found.setdefault(description.parents[1].name, description.parent)
    return found


def shipped_bundle() -> Path:
    """Return the folder of the bundle that ships.

    Raises:
        MissingFileError: no bundle ships with this installation.
    """
    return locate(None).fetch(())


def bundle_files(model: str | None) -> list[Path]:
    """Return the files of a bundle, none of which may be overwritten by an output.

    Args:
        model: the name of the bundle; None means the bundle that ships.

    Returns:
        The paths of its files; none if the bundle is on a hub.
    """
    place = locate(model).place
    return sorted(place.iterdir()) if isinstance(place, Path) else []
