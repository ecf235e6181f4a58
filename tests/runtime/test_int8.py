"""int8 products that are exact, whatever this CPU does by itself."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from products import product_graph

import voxmood
from voxmood.bundle.description import read_bundle, sha256
from voxmood.bundle.graph_file import read_graph_file
from voxmood.cli import main
from voxmood.engine import int8_probe as int8
from voxmood.engine import session

COLUMNS = 16
HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"


def build_probe() -> onnx.ModelProto:
    """Return the graph in `int8_probe.onnx`; `onnx.save(build_probe(), PROBE)` writes the file."""
    return product_graph(np.full((int8.DEPTH, COLUMNS), 127, np.int8), int8.ROWS)


def test_the_probe_is_the_graph_that_its_recipe_builds(bundle: Path) -> None:
    model = onnx.load(int8.PROBE)
    assert model == build_probe()
    onnx.checker.check_model(model)
    (exported,) = {
        (node.domain, node.op_type)
        for node in onnx.load(bundle / "model.int8.onnx").graph.node
        if node.op_type.startswith("MatMulInteger")
    }
    assert (model.graph.node[0].domain, model.graph.node[0].op_type) == exported


def test_frozen_apps_get_the_probe() -> None:
    """PyInstaller puts each of `datas` into a folder; the module looks beside itself."""
    package = Path(voxmood.__file__).parent
    datas = runpy.run_path(str(package / "_pyinstaller" / "hook-voxmood.py"))["datas"]
    folder = int8.PROBE.parent.relative_to(package.parent)
    assert (str(int8.PROBE), str(folder)) in datas


def test_products_are_exact_with_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    options = onnxruntime.SessionOptions()
    for key, value in int8.exact_products().items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(int8.PROBE, options)
    (product,) = session.run(None, {"a": np.full((int8.ROWS, int8.DEPTH), 255, np.uint8)})
    assert (product == 255 * 127 * int8.DEPTH).all()


Change = Callable[[list[onnx.NodeProto]], None]

WITHOUT_ZEROS: dict[str, tuple[Change, int | None]] = {
    "as voxmood writes it": (lambda products: None, 0),
    "the last product lacks one": (lambda products: without_zero(products[-1:]), 1),
    "the first, which has a bias": (lambda products: without_zero(products[:1]), 1),
    "all, the inputs cut short": (lambda products: cut_short(products), None),
    "all, as voxmood once wrote it": (lambda products: without_zero(products), None),
}
"""What happens to the int8 products of a graph, and how many then lack a zero point (None: all)."""


def without_zero(products: list[onnx.NodeProto]) -> None:
    """Leave the zero point out: by an empty name, or at the end of the list by nothing."""
    for product in products:
        product.input[5] = ""
    cut_short([product for product in products if len(product.input) == 6])


def cut_short(products: list[onnx.NodeProto]) -> None:
    for product in products:
        del product.input[5:]


@pytest.fixture(params=WITHOUT_ZEROS)
def graph(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> tuple[Path, int]:
    """An int8 graph in a copy of a bundle, and how many products lack a zero point."""
    change, lacking = WITHOUT_ZEROS[request.param]
    path = Path(shutil.copytree(bundle, tmp_path / "bundle")) / "model.int8.onnx"
    model = onnx.load(path)
    products = [node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"]
    change(products)
    onnx.save(model, path)
    description = path.with_name("bundle.json")
    facts = read_bundle(path.parent).precisions["int8"].files[path.name]
    text = description.read_text().replace(facts.sha256, sha256(path))
    description.write_text(text.replace(f": {facts.bytes},", f": {path.stat().st_size},"))
    return path, len(products) if lacking is None else lacking


@pytest.mark.parametrize(
    ("release", "saturate", "fails"),
    [
        ("1.20.1", True, True),
        ("1.24.4", True, True),
        ("1.29.0", True, True),
        ("1.20.1", False, False),
        ("1.30.0", True, False),
        ("1.32.0.dev20261001+cpu", True, False),
        ("2.0.0", True, False),
    ],
)
def test_products_without_a_zero_point_are_refused_where_they_would_abort(
    graph: tuple[Path, int],
    release: str,
    saturate: bool,
    fails: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, lacking = graph
    found = read_graph_file(path)
    assert found.matmuls_without_zero_point == lacking
    monkeypatch.setattr(onnxruntime, "__version__", release)
    monkeypatch.setattr(session, "products_saturate", lambda: saturate)
    if not (fails and lacking):
        session.check_int8_matmuls(path, found)
        return
    with pytest.raises(voxmood.BundleError, match=r"1\.30 or newer, export .* again, or load its"):
        voxmood.load(path.parent)
    assert main(["predict", "--model", str(path.parent), str(HELLO)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["predict", "--model", f"{path.parent}@fp32", str(HELLO)]) == 0


def test_a_cpu_that_saturates_gets_help(monkeypatch: pytest.MonkeyPatch) -> None:
    for saturates in (False, True):
        monkeypatch.setattr(int8, "products_saturate", lambda answer=saturates: answer)
        assert ("session.x64quantprecision" in int8.exact_products()) == saturates
        assert ("saturate" in int8.describe_products()) == saturates
