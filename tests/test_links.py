"""The links of README.md, which PyPI shows, too: there a relative link leads nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = f"{PROJECT['urls']['Homepage']}/blob/main/"


@pytest.mark.parametrize("link", LINKS)
def test_links_are_absolute_and_their_files_exist(link: str) -> None:
    assert link.startswith("https://")
    if link.startswith(PROJECT["urls"]["Homepage"]):
        assert link.startswith(FILES)
        assert (ROOT / link.removeprefix(FILES)).is_file()
