"""The gate, on the bundle that ships: it lets int8 pass, and nothing that is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper

import voxmood
from voxmood import AudioError, BundleError, ManifestError, MissingFileError
from voxmood.bundle.description import sha256
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood_export.clips import speech_like

RATE = 16000
SHIPPED = shipped_bundle()
BOUNDS: dict[str, Any] = {"max_drift": 0.04, "min_sqnr": 30.0}  # test_int8_passes keeps them
FP32, INT8 = f"{SHIPPED}@fp32", f"{SHIPPED}@int8"


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen clips of a second, on which the float model is decided: no machine's int8 is not."""
    folder = tmp_path_factory.mktemp("audio")
    model = voxmood.load(SHIPPED, precision="fp32")
    rows: list[dict[str, str]] = []
    for seed in range(40):
        clip = speech_like(1.0, RATE, seed)
        prediction = model.predict(clip, sampling_rate=RATE)
        *_, second, first = sorted(prediction.numbers.values())
        if first - second > 0.1 and len(rows) < 16:
            soundfile.write(folder / f"{seed}.wav", clip, RATE, subtype="FLOAT")
            rows.append({"path": f"{seed}.wav", "label": prediction.label or ""})
    assert len(rows) == 16
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def few(audio: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(audio.glob("*.wav"))[:3]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def change_graph(folder: Path, precision: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Changes a graph, and the description so that nothing but the answers shows it."""
    path = folder / f"model.{precision}.onnx"
    graph = onnx.load(path)
    change(graph)
    onnx.save(graph, path)
    file = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    change_description(
        folder, lambda it: it["precisions"][precision].update(files={path.name: file})
    )


def change_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_tensor(
    name: str, change: Callable[[np.ndarray], np.ndarray]
) -> Callable[[onnx.ModelProto], None]:
    def change_in(graph: onnx.ModelProto) -> None:
        (tensor,) = (each for each in graph.graph.initializer if each.name == name)
        value = np.ascontiguousarray(change(numpy_helper.to_array(tensor)))
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return change_in


def test_int8_passes(audio: Path) -> None:
    comparison = voxmood.compare(FP32, INT8, audio=audio, **BOUNDS)
    assert comparison.passed
    assert not comparison.changed
    assert comparison.recordings == 16
    assert comparison.seconds == 16


def test_figures_are_those_of_a_plain_calculation(audio: Path) -> None:
    paths = sorted(audio.glob("*.wav"))
    logits, probabilities = [], []
    for precision in ("fp32", "int8"):
        predictions = voxmood.load(SHIPPED, precision=precision).predict_batch(paths)
        logits.append(np.array([each.logits for each in predictions], np.float64))
        probabilities.append(np.array([[*each.numbers.values()] for each in predictions]))
    signal, other = (each - each.mean(axis=1, keepdims=True) for each in logits)
    change = np.abs(probabilities[1] - probabilities[0])
    measures = voxmood.compare(FP32, INT8, audio=audio, manifest=audio / "manifest.csv").measures
    expected = {
        "SQNR": 10 * np.log10((signal**2).sum() / ((other - signal) ** 2).sum()),
        "largest probability drift": change.max(),
        "mean probability drift": change.mean(),
        "label agreement": 1,
        "accuracy of reference": 1,
        "UAR of candidate": 1,
        "exact McNemar p of their accuracies": 1,
    }
    for name, value in expected.items():
        assert measures[name].value == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_wrong_scales_of_a_layer_fail(audio: Path, copy: Path) -> None:
    change_graph(copy, "int8", change_tensor("projection.matrix.scale", lambda scale: 2 * scale))
    comparison = voxmood.compare(FP32, f"{copy}@int8", audio=audio)
    assert not comparison.passed
    agreement = comparison.measures["label agreement"]
    assert agreement.met is False
    assert agreement.value is not None
    assert len(comparison.changed) == 16 * (1 - agreement.value)


def test_wrong_scales_that_change_no_decision_fail_by_the_other_bounds(
    audio: Path, copy: Path
) -> None:
    query = "layers.1.attention.query.matrix.scale"
    scales = change_tensor(query, lambda scale: np.float32(1.3) * scale)
    change_graph(copy, "int8", scales)
    comparison = voxmood.compare(FP32, f"{copy}@int8", audio=audio, **BOUNDS)
    missed = {name for name, measure in comparison.measures.items() if measure.met is False}
    assert missed == {"largest probability drift", "SQNR"}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_swapped_rows_of_the_classifier_fail(precision: str, audio: Path, copy: Path) -> None:
    for name in ("head.classifier.matrix", "head.classifier.bias"):
        change_graph(copy, precision, change_tensor(name, lambda it: it[..., [1, 0, 2, 3]]))
    comparison = voxmood.compare(FP32, f"{copy}@{precision}", audio=audio)
    assert not comparison.passed
    changed = {(each.reference, each.candidate) for each in comparison.changed}
    assert changed
    assert changed <= {("neu", "hap"), ("hap", "neu")}


def swap_labels(folder: Path) -> None:
    labels = ["hap", "neu", "ang", "sad"]

    def change(graph: onnx.ModelProto) -> None:
        for entry in graph.metadata_props:
            if entry.key == "voxmood.labels":
                entry.value = json.dumps(labels)

    change_graph(folder, "int8", change)
    change_description(folder, lambda it: it.update(labels=labels))


def test_swapped_labels_are_refused(few: Path, copy: Path) -> None:
    swap_labels(copy)
    labels = voxmood.load(copy, precision="int8").labels  # a valid bundle by itself
    assert labels == ("hap", "neu", "ang", "sad")
    with pytest.raises(BundleError, match="labels neu, hap, ang, sad against hap, neu, ang, sad"):
        voxmood.compare(FP32, f"{copy}@int8", audio=few)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sampling_rate", 8000, "sampling rate 16000 against 8000"),
        ("architecture", "hubert", "architecture wav2vec2 against hubert"),
    ],
)
def test_other_bundles_are_refused(
    key: str, value: object, message: str, few: Path, copy: Path
) -> None:
    def change(graph: onnx.ModelProto) -> None:
        for entry in graph.metadata_props:
            if entry.key == f"voxmood.{key}":
                entry.value = str(value)

    change_graph(copy, "int8", change)
    change_description(copy, lambda it: it.update({key: value}))
    with pytest.raises(BundleError, match=message):
        voxmood.compare(FP32, f"{copy}@int8", audio=few)


def test_itself_is_refused(few: Path) -> None:
    with pytest.raises(BundleError, match="compared with itself"):
        voxmood.compare(SHIPPED, FP32, audio=few)


@pytest.mark.parametrize("truncated", ["reference", "candidate"])
def test_truncated_weights_fail(
    truncated: str, few: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / ("model.fp32.onnx" if truncated == "reference" else "model.int8.onnx")
    path.write_bytes(path.read_bytes()[:-1000])
    assert main(["compare", f"{copy}@fp32", f"{copy}@int8", "--audio", str(few)]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert path.name in message
    # With hashes to fit, as of a file that was cut off before it was described.
    change = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    precision = path.name.split(".")[1]
    change_description(
        copy, lambda it: it["precisions"][precision].update(files={path.name: change})
    )
    with pytest.raises(BundleError, match=path.name):
        voxmood.compare(f"{copy}@fp32", f"{copy}@int8", audio=few)


def test_answers_that_are_no_numbers_fail(few: Path, copy: Path) -> None:
    broken = change_tensor("head.classifier.bias", lambda bias: np.full_like(bias, np.nan))
    change_graph(copy, "int8", broken)
    bundle = f"{copy}@int8"
    with pytest.raises(voxmood.BundleError, match=r"model\.int8\.onnx.*not finite"):
        voxmood.compare(FP32, bundle, audio=few)


def test_unreadable_recordings(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (few / "broken.wav").write_bytes(b"RIFF")
    (few / "phone.m4a").write_bytes(b"....ftypM4A ")
    arguments = ["compare", FP32, INT8, "--audio", str(few), "--max-unreadable"]
    assert main([*arguments, "1"]) == 1
    text = capsys.readouterr().out
    assert "broken.wav" in text
    assert "phone.m4a" in text
    assert text.endswith("FAILED: unreadable recordings 2, must be at most 1\n")
    assert main([*arguments, "2"]) == 0
    for path in few.glob("*[0-9].wav"):
        path.unlink()
    with pytest.raises(AudioError, match=r"none of 2 recordings can be read; .* broken\.wav: "):
        voxmood.compare(FP32, INT8, audio=few, max_unreadable=9)


def test_an_empty_folder_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", FP32, INT8, "--audio", str(tmp_path)]) == 1
    assert "holds no recordings" in capsys.readouterr().err
    with pytest.raises(MissingFileError):
        voxmood.compare(FP32, INT8, audio=tmp_path / "gone")


def test_manifest(few: Path, tmp_path: Path) -> None:
    first, second, third = sorted(path.name for path in few.iterdir())
    model = voxmood.load(SHIPPED)
    labels = [model.predict(few / name).label or "" for name in (first, second, third)]
    wrong = {"neu": "sad", "hap": "neu", "ang": "neu", "sad": "neu"}
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        f"label,path\n{labels[0]},{first}\n{wrong[labels[1]]},{second}\nneu,gone.wav\n"
    )
    comparison = voxmood.compare(FP32, INT8, audio=few, manifest=manifest)
    assert comparison.recordings == 2
    assert comparison.measures["accuracy of candidate"].value == 0.5
    assert list(comparison.unreadable) == ["gone.wav"]
    assert not comparison.passed
    manifest.write_text(f"label,path\njoy,{first}\nanger,{second}\n{labels[2]},{third}\n")
    with pytest.raises(ManifestError, match="'anger', 'joy'; it has neu, hap, ang, sad"):
        voxmood.compare(FP32, INT8, audio=few, manifest=manifest)


def test_reports(audio: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_graph(copy, "int8", change_tensor("projection.matrix.scale", lambda scale: 2 * scale))
    junit, markdown = copy / "out" / "gate.xml", copy / "out" / "gate.md"
    arguments = ["compare", FP32, f"{copy}@int8", "--audio", str(audio), "--threads", "1"]
    arguments += ["--manifest", str(audio / "manifest.csv"), "--json"]
    assert main([*arguments, "--junit", str(junit), "--markdown", str(markdown)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("voxmood: FAILED: label agreement ")
    report = json.loads(captured.out)
    assert report["passed"] is False
    assert report["measures"]["label agreement"]["met"] is False
    change = report["changed"][0]
    top = sorted(change["reference_probabilities"].values())
    assert change["margin"] == pytest.approx(top[-1] - top[-2])
    assert change["margin"] == max(each["margin"] for each in report["changed"])
    assert change["label"] == change["reference"] != change["candidate"]
    failures = ElementTree.parse(junit).getroot().findall(".//testcase[failure]")
    assert [case.get("name") for case in failures] == ["label agreement"]
    assert change["file"] in markdown.read_text()


@pytest.mark.parametrize(
    "option",
    [
        "--min-agreement=99",
        "--min-agreement=nan",
        "--max-drift=-1",
        "--min-sqnr=inf",
        "--max-unreadable=-1",
    ],
)
def test_bounds_that_make_no_sense_are_wrong_usage(option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", FP32, INT8, "--audio", ".", option])
    assert caught.value.code == 2


@pytest.fixture
def linked(few: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest, recordings, a bundle, and other names of them; the current one."""
    recording = min(few.iterdir())
    manifest = few.parent / "list.csv"
    manifest.write_text(f"path\n{recording.name}\n")
    (few.parent / "link").symlink_to("few")
    (few.parent / "link.csv").symlink_to("list.csv")
    os.link(recording, few.parent / "hard.xml")
    recording.rename(few / "a.wav")
    manifest.write_text("path\na.wav\n")
    monkeypatch.chdir(few.parent)
    return few.parent


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
@pytest.mark.parametrize(
    "output",
    [
        "list.csv",
        "link.csv",
        "link/../list.csv",
        "few/a.wav",
        "./link/a.wav",
        "hard.xml",
        "bundle/bundle.json",
        "bundle/model.int8.onnx",
    ],
)
def test_no_input_is_written_to(
    linked: Path, option: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in linked.rglob("*") if path.is_file()}
    models = ["compare", FP32, "bundle@int8"]
    assert main([*models, "--audio", "few", "--manifest", "list.csv", option, output]) == 1
    assert "is also an input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in linked.rglob("*") if path.is_file()} == before


@pytest.mark.posix
@pytest.mark.parametrize("other", ["gate.txt", "./gate.txt", "few/../gate.txt"])
def test_two_outputs_are_two_files(
    linked: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", FP32, INT8, "--audio", "few", "--junit", "gate.txt", "--markdown"]
    assert main([*arguments, other]) == 1
    assert "is named for two outputs" in capsys.readouterr().err
    assert not (linked / "gate.txt").exists()
    assert main([*arguments, "other.txt"]) == 0
    assert main([*arguments[:-2], "/dev/null", "--markdown", "/dev/null"]) == 0


def test_what_a_manifest_is_relative_to(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = sorted(few.iterdir())
    (few / "notes.txt").touch()
    beside, elsewhere = few / "list.csv", tmp_path / "list.csv"
    rows = f"path\n{first.name}\n{second}\n../few/{third.name}\n"
    beside.write_text(rows)
    elsewhere.write_text(rows)
    both: list[dict[str, Any]] = [{"manifest": beside}, {"manifest": elsewhere, "audio": few}]
    for given in both:
        found = voxmood.compare(FP32, INT8, **given)
        assert (found.recordings, dict(found.unreadable), found.skipped) == (3, {}, {})
    found = voxmood.compare(FP32, INT8, audio=few)
    assert found.skipped == {".csv": 1, ".txt": 1}
    text = found.report().as_text()
    assert "2 files were skipped because of their suffixes: 1 .csv, 1 .txt." in text
    found = voxmood.compare(FP32, INT8, manifest=elsewhere)
    assert found.unreadable == {
        first.name: f"no such file. [{elsewhere}, line 2]",
        f"../few/{third.name}": f"no such file. [{elsewhere}, line 4]",
    }
    assert main(["compare", FP32, INT8, "--manifest", str(beside)]) == 0
    assert f"{beside}: 3 recordings" in capsys.readouterr().out
    with pytest.raises(MissingFileError, match="no recordings are named"):
        voxmood.compare(FP32, INT8)
    with pytest.raises(SystemExit) as caught:
        main(["compare", FP32, INT8])
    assert caught.value.code == 2
