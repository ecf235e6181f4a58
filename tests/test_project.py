"""What pyproject.toml says in two places is the same."""

from __future__ import annotations

import tomllib
from pathlib import Path


def test_the_extra_dev_is_the_dependency_group() -> None:
    content = (Path(__file__).parents[1] / "pyproject.toml").read_bytes()
    project = tomllib.loads(content.decode())
    assert project["project"]["optional-dependencies"]["dev"] == project["dependency-groups"]["dev"]
