"""What installed packages take on the disk."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from voxmood_bench.engines.environments import environment_folder


def installed_bytes(name: str, folder: Path) -> int:
    """Return the bytes of an environment's packages, without those of the installer."""
    return sum(
        file.lstat().st_size
        for file in environment_folder(name, folder).rglob("*")
        if file.is_file() and not {"pip", "setuptools"} & set(file.parts)
    )


@cache
def required_bytes(packages: tuple[str, ...]) -> int:
    """Return the bytes of packages of this environment, and of all installed ones they require."""
    todo = [Requirement(package) for package in packages]
    done: set[tuple[str, str]] = set()
    sizes: dict[str, int] = {}
    while todo:
        wanted = todo.pop()
        for extra in ("", *wanted.extras):
            if (wanted.name, extra) in done:
                continue
            done.add((wanted.name, extra))
            try:
                found = distribution(wanted.name)
            except PackageNotFoundError:  # of an extra that is not installed
                continue
            files = [Path(str(file.locate())) for file in found.files or ()]
            sizes[found.name] = sum(file.stat().st_size for file in files if file.is_file())
            for requirement in map(Requirement, found.requires or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    todo.append(requirement)
    return sum(sizes.values())
