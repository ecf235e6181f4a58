"""Bundles of a stranger, hashes recomputed to fit: what is refused, and before what."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from near import LAYER, near
from onnx import TensorProto, helper, numpy_helper

import voxmood
from voxmood import BundleError
from voxmood.bundle import graph_file
from voxmood.bundle.description import sha256
from voxmood.bundle.graph_file import read_graph_file
from voxmood.bundle.locate import shipped_bundle

RATE = 16000


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def rehash(folder: Path) -> None:
    description = json.loads((folder / "bundle.json").read_bytes())
    for entry in description["precisions"].values():
        for name, facts in entry["files"].items():
            path = folder / name
            facts["bytes"], facts["sha256"] = path.stat().st_size, sha256(path)
    (folder / "bundle.json").write_text(json.dumps(description))


def change(folder: Path, how: Callable[[Any], Any]) -> None:
    path = folder / "model.int8.onnx"
    model = onnx.load(path, load_external_data=False)
    how(model)
    path.write_bytes(model.SerializeToString())
    rehash(folder)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        voxmood.load(folder, precision="int8")


@pytest.mark.parametrize(
    "message",
    [
        graph_file.ModelProto,
        graph_file.GraphProto,
        graph_file.NodeProto,
        graph_file.AttributeProto,
        graph_file.TensorProto,
        graph_file.ValueInfoProto,
        graph_file.StringStringEntryProto,
    ],
)
def test_numbers_of_fields_are_those_of_onnx(message: type) -> None:
    fields = getattr(onnx, message.__name__).DESCRIPTOR.fields_by_name
    public = {name: each for name, each in vars(message).items() if not name.startswith("_")}
    numbers = {name: each for name, each in public.items() if isinstance(each, int)}
    assert numbers
    assert numbers == {name: fields[name.lower()].number for name in numbers}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_reader_sees_what_onnx_sees(precision: str) -> None:
    path = shipped_bundle() / f"model.{precision}.onnx"
    model, found = onnx.load(path), read_graph_file(path)
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert found.inputs == [value.name for value in model.graph.input]
    assert found.outputs == [value.name for value in model.graph.output]
    assert found.data_bytes == 0


def test_the_reader_sees_how_far_external_data_reaches(copy: Path) -> None:
    path = copy / "model.fp32.onnx"
    model = onnx.load(path)
    onnx.save(
        model, path, save_as_external_data=True, location="model.fp32.onnx.data", size_threshold=0
    )
    found, data = read_graph_file(path), copy / "model.fp32.onnx.data"
    assert found.data_bytes == data.stat().st_size > 1_000_000
    description = json.loads((copy / "bundle.json").read_bytes())
    description["precisions"]["fp32"]["files"][data.name] = {"bytes": 0, "sha256": ""}
    (copy / "bundle.json").write_text(json.dumps(description))
    rehash(copy)
    clip = np.ones(RATE)
    expected = voxmood.load(precision="fp32").predict(clip, sampling_rate=RATE)
    prediction = voxmood.load(copy, precision="fp32").predict(clip, sampling_rate=RATE)
    assert prediction.logits == near(expected.logits, LAYER)
    data.write_bytes(data.read_bytes()[:-64])
    rehash(copy)
    with pytest.raises(BundleError, match="reach beyond its data"):
        voxmood.load(copy, precision="fp32")


@pytest.mark.parametrize("place", ["../weights", "/weights", "x/../../weights", "", "bundle.json"])
def test_weights_elsewhere(copy: Path, place: str) -> None:
    def elsewhere(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place.replace("/w", f"{copy.parent}/w", 1))

    (copy.parent / "weights").write_bytes(bytes(1 << 20))
    change(copy, elsewhere)
    refused(copy, "a tensor is stored in")


@pytest.mark.parametrize("name", ["bundle.json", "model.int8.onnx"])
def test_links_out_of_the_bundle(copy: Path, name: str) -> None:
    (copy / name).rename(copy.parent / name)
    (copy / name).symlink_to(copy.parent / name)
    refused(copy, "symbolic link out of the bundle")
    (copy / name).unlink()
    (copy / name).symlink_to(name)
    with pytest.raises(voxmood.VoxmoodError):
        voxmood.load(copy, precision="int8")


def test_a_link_to_the_bundle_is_no_harm(copy: Path) -> None:
    link = copy.parent / "link"
    link.symlink_to(copy)
    voxmood.load(link, precision="int8")


@pytest.mark.parametrize(
    ("operator", "domain"),
    [
        ("Loop", ""),
        ("EPContext", "com.microsoft"),
        ("MatMul", "custom"),
        ("PyOp", "ai.onnx.contrib"),
    ],
)
def test_operators_that_no_such_model_has(copy: Path, operator: str, domain: str) -> None:
    def replace(model: Any) -> None:
        model.graph.node[5].op_type, model.graph.node[5].domain = operator, domain

    change(copy, replace)
    refused(copy, f"operator '.*{operator}' is not allowed")


@pytest.mark.parametrize("dims", [[1 << 40], [1 << 62, 1 << 62], [-1], [1] * 100, [3]])
def test_shapes_that_the_data_does_not_fill(copy: Path, dims: list[int]) -> None:
    def grow(model: Any) -> None:
        tensor = next(item for item in model.graph.initializer if item.raw_data)
        del tensor.dims[:]
        tensor.dims.extend(dims)
        if dims == [3]:
            tensor.raw_data = tensor.raw_data[:2]

    change(copy, grow)
    refused(copy, "refused before it was opened")


@pytest.mark.parametrize(
    "content",
    [
        '{"a": NaN}', '{"schema": 1, "schema": 1}', "[" * 100_000, '{"schema": ' + "9" * 5000 + "}",
        "\x00", '{"schema": true}',
    ],
)  # fmt: skip
def test_odd_json(copy: Path, content: str) -> None:
    (copy / "bundle.json").write_text(content)
    refused(copy, r"bundle\.json")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_samples", 10**15, "do not fit"),
        ("sampling_rate", 10**9, "do not fit"),
        ("sampling_rate", 10**400, "a number is too large"),
        ("labels", ["a"] * 4, "labels must differ"),
        ("labels", [str(number) for number in range(1001)], "at most 1000"),
        ("name", "\x1b]0;title\x07", "control characters"),
        ("tools", {"a": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}, "nested"),
        ("session_options", {"session.optimized_model_filepath": "/tmp/x"}, "may not be"),
        ("session_options", {"session.load_model_format": "ORT"}, "may not be"),
        ("session_options", {"session.disable_prepacking": "2"}, "may not be"),
        ("session_options", {"session.disable_prepacking": 1}, "may not be"),
    ],
)
def test_absurd_descriptions(copy: Path, key: str, value: Any, message: str) -> None:
    description = json.loads((copy / "bundle.json").read_bytes())
    description[key] = value
    (copy / "bundle.json").write_text(json.dumps(description))
    refused(copy, message)


BOMBS: dict[str, Callable[[Any], list[Any]]] = {
    "a constant decides": lambda graph: [
        helper.make_node("ConstantOfShape", ["size"], ["bomb"]),
        helper.make_node("ReduceSum", ["bomb"], ["zero"], keepdims=0),
    ],
    "doubling": lambda graph: [
        *(helper.make_node("Concat", [f"x{i}", f"x{i}"], [f"x{i + 1}"], axis=1) for i in range(30)),
        helper.make_node("ReduceSum", ["x30"], ["zero"], keepdims=0),
    ],
}


@pytest.mark.linux
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("low_memory", [False, True])
def test_a_graph_that_asks_for_memory_without_end(copy: Path, bomb: str, low_memory: bool) -> None:
    def plant(model: Any) -> None:
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.array([1 << 36]), "size"))
        nodes = BOMBS[bomb](graph)
        for node in nodes:  # the waveform is what begins to double
            node.input[:] = ["waveform" if name == "x0" else name for name in node.input]
        for node in graph.node:
            node.output[:] = ["before" if name == "embedding" else name for name in node.output]
            node.input[:] = ["before" if name == "embedding" else name for name in node.input]
        graph.node.extend(nodes)
        graph.node.append(helper.make_node("Add", ["before", "zero"], ["embedding"]))

    change(copy, plant)
    code = (
        "import numpy, voxmood, voxmood.engine.session\n"
        "voxmood.engine.session.MAX_RUN_BYTES = 300 << 20\n"
        "try:\n"
        f"    model = voxmood.load({str(copy)!r}, precision='int8', low_memory={low_memory})\n"
        "    model.predict(numpy.ones(16000), sampling_rate=16000)\n"
        "except voxmood.BundleError as error: print('refused', error)\n"
        # Not ru_maxrss, which begins with what the parent had.
        "status = dict(line.split(':') for line in open('/proc/self/status'))\n"
        "print(int(status['VmHWM'].split()[0]) // 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert "cannot" in lines[0], done.stdout + done.stderr
    assert int(lines[-1]) < 600


@pytest.mark.thorough
def test_mutations() -> None:
    """A short run of `fuzz_bundle.py`, with a fixed seed."""
    command = [sys.executable, str(Path(__file__).with_name("fuzz_bundle.py")), "96", "--seed=26"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flip bytes: answer" in done.stdout
    assert "flip bytes: refused" in done.stdout
