"""Which bundle a name means, and in which precision: the same to Python and to every command."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from voxmood.audio.hints import missing_file_hint
from voxmood.bundle.description import PRECISIONS, Bundle
from voxmood.bundle.hub import Repository, read_id
from voxmood.errors import BundleError, MissingFileError


@dataclass(frozen=True)
class Location:
    """Where a bundle is, and which precision of it is asked for.

    Attributes:
        name: what the bundle was called, without the precision.
        place: its folder, or where a hub has it.
        precision: as `voxmood.load` takes it.
    """

    name: str
    place: Path | Repository
    precision: str

    def fetch(self, files: Iterable[str]) -> Path:
        """Return the bundle's folder; from a hub, those files are brought into it.

        Raises:
            MissingExtraError: a hub is needed, and huggingface_hub is not installed.
            MissingFileError: the hub does not have a file, or is out of reach.
        """
        return self.place if isinstance(self.place, Path) else self.place.fetch(files)


def locate(source: str | os.PathLike[str] | None, precision: str = "auto") -> Location:
    """Find what `NAME` or `NAME@PRECISION` means.

    A name is that of a folder, of a bundle that ships with voxmood (`voxmood-tiny`), or the
    `owner/name` or `owner/name@revision` of a hub, whichever there is first. A hub is never asked
    for a name that begins as only a path does, or whose first part is a folder that is there.

    Args:
        source: the name; None takes the bundle that ships.
        precision: one that the name need not give.

    Raises:
        MissingFileError: there is no such folder, and the name is no other.
        BundleError: the name gives one precision, and `precision` is another.
    """
    shipped = shipped_bundles()
    if source is None:
        if not shipped:
            raise MissingFileError(
                "no bundle ships with this installation; name one, as in voxmood.load('bundle'). "
                "`voxmood export CHECKPOINT BUNDLE` makes one."
            )
        name, folder = next(iter(shipped.items()))
        return Location(name, folder, precision)
    name = os.fspath(source)
    if not name:
        raise MissingFileError(
            "the name of a bundle is empty; leave it out for the one that ships."
        )
    name, given = _split(name, shipped)
    if given and precision not in ("auto", given):
        raise BundleError(
            f"{name}@{given}: names the precision {given}, and {precision} is asked for as well; "
            "leave out one of them."
        )
    precision = given or precision
    if Path(name).is_dir():
        return Location(name, Path(name), precision)
    if name in shipped:
        return Location(name, shipped[name], precision)
    if Path(name).exists():
        raise MissingFileError(f"{name}: is a file, and a bundle is a folder; name the folder.")
    repository = read_id(name) if isinstance(source, str) else None
    if repository is None:
        hint = missing_file_hint(name) or "`voxmood export` makes one."
        raise MissingFileError(f"{name}: no such bundle. {hint}")
    owner = name.partition("/")[0]
    if Path(owner).is_dir():
        raise MissingFileError(
            f"{name}: no such bundle in the folder {owner}; because of that folder it is not "
            "looked for on a hub."
        )
    return Location(name, repository, precision)


def _split(name: str, shipped: Container[str]) -> tuple[str, str | None]:
    """Split `NAME@PRECISION`; what follows an @ may also be a folder's or a hub's."""
    folder, _, given = name.rpartition("@")
    if Path(name).exists() or not folder:
        return name, None
    if given in PRECISIONS or folder in shipped or Path(folder).is_dir():
        return folder, given
    return name, None


def shipped_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that ship, by name.

    They are beside the installed package, or in `models/` of a checkout.
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
        MissingFileError: this installation has none.
    """
    return locate(None).fetch(())


def bundle_files(model: str | None) -> list[Path]:
    """Return the files of a bundle that is on this machine, which no output may be."""
    place = locate(model).place
    return sorted(place.iterdir()) if isinstance(place, Path) else []


def choose_precision(bundle: Bundle, precision: str, provider: str) -> str:
    """The precision to load, by rule and not by measurement."""
    there = list(bundle.precisions)
    if precision != "auto":
        if precision not in there:
            raise BundleError(
                f"{bundle.name}: has no precision {precision}; there are {', '.join(there)}."
            )
        return precision
    preferred = {
        "CPUExecutionProvider": "int8",
        "CUDAExecutionProvider": "fp16",
        "TensorrtExecutionProvider": "fp16",
    }.get(provider, "fp32")
    return next(name for name in (preferred, "fp32", *there) if name in there)
