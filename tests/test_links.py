"""The links of all pages, and how long some of them may be.

PyPI shows README.md, too: there a relative link leads nowhere.
"""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("runtime", "export", "benchmarks", "tests", "models")
PAGES = [*ROOT.glob("*.md")] + [
    page
    for folder in FOLDERS
    for page in (ROOT / folder).rglob("*.md")
    if "node_modules" not in page.parts
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME = PROJECT["urls"]["Homepage"]
FILES = f"{HOME}/blob/main/"
PICTURES = f"{HOME.replace('github.com', 'raw.githubusercontent.com')}/main/"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_LINES = 130
MOST_WORDS = 400  # of what the changelog says about 0.1.0


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\bsrc(?:set)?="([^"]+)"', text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if place.startswith((FILES, PICTURES)):
            target = ROOT / place.removeprefix(FILES).removeprefix(PICTURES)
        elif place.startswith(("https:", "http:")):
            assert not place.startswith(HOME), link
            continue
        else:
            target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}"


def test_links_of_the_readme_are_absolute() -> None:
    assert all(link.startswith("https://") for link in links(README))


def test_every_folder_has_a_page() -> None:
    assert all((ROOT / folder / "README.md").is_file() for folder in FOLDERS)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_readme_renders_on_pypi() -> None:
    renderer = pytest.importorskip("readme_renderer.markdown")
    problems = io.StringIO()
    html = renderer.render(README, stream=problems)
    assert html is not None, problems.getvalue()
    pictures = re.findall(r'<img [^>]*src="([^"]+)"', html)
    assert pictures == [link for link in links(README) if link.endswith("light.svg")]
    assert html.count("<table>") == len(re.findall(r"^\|[ |-]+$", README, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_extras_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    listed = re.findall(r"(?:voxmood|'\.|/checkout)\[([\w,-]+)\]", text)
    extras = {extra for each in listed for extra in each.split(",")}
    assert extras <= set(PROJECT["optional-dependencies"])


def test_the_changelog_of_the_first_release_is_short() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## 0\.1\.0.*?(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert len(section.split()) <= MOST_WORDS
