"""Build the API reference from the docstrings, and check it.

    python .ci/api_reference.py OUT

Every public name must be there with a docstring, and every link must lead somewhere.
"""

import argparse
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pdoc

import voxmood
import voxmood.api
import voxmood_export


class _Page(HTMLParser):
    """Collect the names that a page has, and the links on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names = set[str]()
        self.links = list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.names.add(value)
            elif name == "href" and value and tag == "a":
                self.links.append(value)


def main() -> int:
    """Build the pages, print what is wrong with them, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, metavar="OUT", help="Folder for the pages.")
    output: Path = parser.parse_args().output
    public = {voxmood: voxmood.api.__all__, voxmood_export: voxmood_export.__all__}
    for module, names in public.items():
        _import_all(module, names)
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*(module.__name__ for module in public), output_directory=output)
    problems = [
        f"{module.__name__}.{name} has no docstring"
        for module, names in public.items()
        for name in names
        if not getattr(module, name).__doc__
    ]
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in output.rglob("*.html")
    }
    for module, names in public.items():
        page = pages[(output / f"{module.__name__}.html").resolve()]
        problems += [f"{module.__name__}.{name} is missing" for name in {*names} - page.names]
    for path, page in pages.items():
        for link in page.links:
            place, _, name = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            if ":" not in place and (
                target not in pages or (name and name not in pages[target].names)
            ):
                problems.append(f"{path.name}: the link {link} leads nowhere")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{output}: {len(pages)} pages, {sum(len(page.links) for page in pages.values())} links")
    return 1 if problems else 0


def _import_all(module: ModuleType, names: Sequence[str]) -> None:
    """Make the names that a module imports on first use part of it, so that pdoc finds them."""
    for name in names:
        setattr(module, name, getattr(module, name))
    module.__all__ = names  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
