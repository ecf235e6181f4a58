"""Tables have no two columns of one name, whatever labels and manifests are called."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import onnx
import pytest

from voxmood.bundle.description import sha256
from voxmood.cli import main

HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"
LABELS = [
    ("path", "label", "error", "warnings"),
    ("start", "end", "silent", "duration_s"),
    ("probabilities", "probability_label", "label", "probability_probability_label"),
    ("manifest_label", "speaker", "label", "manifest_speaker"),
]
COLUMNS = ("label", "error", "probability_error", "speaker", "manifest_speaker", "probability_path")


def renamed(bundle: Path, folder: Path, labels: tuple[str, ...]) -> str:
    """Return the name of a float model with other labels, in a copy of its bundle."""
    shutil.copytree(bundle, folder)
    graph, description = folder / "model.fp32.onnx", folder / "bundle.json"
    model = onnx.load(graph)
    for each in model.metadata_props:
        if each.key == "voxmood.labels":
            each.value = json.dumps(labels)
    onnx.save(model, graph)
    content = json.loads(description.read_text()) | {"labels": labels}
    files = content["precisions"]["fp32"]["files"]
    files[graph.name] |= {"sha256": sha256(graph), "bytes": graph.stat().st_size}
    description.write_text(json.dumps(content))
    return f"{folder}@fp32"


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("windows", [(), ("--timeline",)])
def test_batch(
    bundle: Path, tmp_path: Path, labels: tuple[str, ...], windows: tuple[str, ...]
) -> None:
    model = renamed(bundle, tmp_path / "bundle", labels)
    shutil.copy(HELLO, tmp_path)
    manifest, table = tmp_path / "list.csv", tmp_path / "table.csv"
    cells = ",".join(f"cell {number}" for number in range(len(COLUMNS)))
    manifest.write_text(f"path,{','.join(COLUMNS)}\n{HELLO.name},{cells}\n")
    command = ["batch", str(manifest), "--output", str(table), "--model", model, *windows]
    assert main(command) == 0
    names, row, *_ = list(csv.reader(io.StringIO(table.read_text())))
    assert len(names) == len({*names}) == len(row)
    found = dict(zip(names, row, strict=True))
    assert found["path"] == str(tmp_path / HELLO.name)
    assert found["label"] in labels
    assert found["error"] == ""
    for number, column in enumerate(COLUMNS):
        (name,) = [name for name, cell in found.items() if cell == f"cell {number}"]
        assert name.replace("manifest_", "") == column.replace("manifest_", "")
    for label in labels:
        own = [each for each in names if each == label or each.endswith(f"probability_{label}")]
        assert any(0 <= float(found[each]) <= 1 for each in own if found[each][:2] in ("0.", "1."))
    assert main([*command, "--resume"]) == 0
    assert table.read_text().splitlines()[0] == ",".join(names)


@pytest.mark.parametrize("labels", LABELS)
def test_timeline(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: tuple[str, ...]
) -> None:
    model = renamed(bundle, tmp_path / "bundle", labels)
    assert main(["timeline", str(HELLO), "--csv", "--model", model]) == 0
    names, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert len(names) == len({*names})
    assert {len(row) for row in rows} == {len(names)}
    for row in rows:
        assert dict(zip(names, row, strict=True))["path"] == str(HELLO)
