"""Calibration of whole bundles: what changes in them, what does not, and what bad input gets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import soundfile
from scipy.special import expit, softmax

import voxmood
from voxmood import BundleError, CalibrationError, ManifestError, VoxmoodError
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood.comparison.metrics import ccc
from voxmood_export import (
    OutputExistsError,
    VerificationError,
    calibrate,
    export_bundle,
)
from voxmood_export.calibration import write
from voxmood_export.clips import speech_like

RATE = 16000
NAMES = ["neu", "hap", "ang", "sad"]
VALUES = ["arousal", "dominance", "valence"]
CLIPS = 60


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty clips, and a list of them with labels by chance and six speakers."""
    folder = tmp_path_factory.mktemp("audio")
    for seed in range(CLIPS):
        soundfile.write(folder / f"{seed}.wav", speech_like(0.4, RATE, seed), RATE)
    random = np.random.default_rng(1)
    listed = [[str(random.choice(NAMES))] for _ in range(CLIPS)]
    write_manifest(folder / "list.csv", ["label"], listed)
    return folder


def write_manifest(
    path: Path, columns: Sequence[str], cells: Sequence[Sequence[str]], speakers: int = 6
) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", *columns])
        for index, row in enumerate(cells):
            writer.writerow([f"{index}.wav", f"s{index % speakers}", *row])
    return path


@pytest.fixture(scope="module")
def calibrated(bundle: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "new"
    calibrate(bundle, folder, manifest=audio / "list.csv")
    return folder


def answers(bundle: Path, precision: str, audio: Path) -> list[voxmood.Prediction]:
    model = voxmood.load(bundle, precision=precision)
    return [model.predict(audio / f"{index}.wav") for index in range(0, CLIPS, 6)]


def initializer(bundle: Path, precision: str, name: str) -> list[float]:
    graph = onnx.load(bundle / f"model.{precision}.onnx").graph
    (found,) = (each for each in graph.initializer if each.name == name)
    numbers: list[float] = onnx.numpy_helper.to_array(found).tolist()
    return numbers


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_exported_graph_divides_by_one(bundle: Path, precision: str) -> None:
    assert initializer(bundle, precision, "temperature") == [1.0]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_only_the_probabilities_change(
    bundle: Path, calibrated: Path, audio: Path, precision: str
) -> None:
    temperature = voxmood.load(calibrated).bundle.temperature
    assert temperature != 1
    assert initializer(calibrated, precision, "temperature") == pytest.approx([temperature])
    before, after = (answers(each, precision, audio) for each in (bundle, calibrated))
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old.logits, new.logits)
        assert np.array_equal(old.embedding, new.embedding)
        assert old.label == new.label
        expected = softmax(old.logits.astype(np.float64) / temperature)
        assert list(new.numbers.values()) == pytest.approx(expected, abs=1e-6)


def test_a_comparison_does_not_change(bundle: Path, calibrated: Path, audio: Path) -> None:
    before, after = (
        voxmood.compare(
            f"{each}@fp32", f"{each}@int8", manifest=audio / "list.csv", min_agreement=0
        )
        for each in (bundle, calibrated)
    )
    for name in ("SQNR", "agreement"):
        (old,), (new,) = (
            [measure.value for title, measure in each.measures.items() if name in title]
            for each in (before, after)
        )
        assert old == new


def test_a_long_recording_gets_the_temperature_too(calibrated: Path) -> None:
    model = voxmood.load(calibrated)
    prediction = model.predict(speech_like(35.0, RATE, 0), sampling_rate=RATE)
    expected = softmax(prediction.logits.astype(np.float64) / model.bundle.temperature)
    assert list(prediction.numbers.values()) == pytest.approx(expected, abs=1e-6)


def test_the_description_says_what_it_was_fitted_on(calibrated: Path, audio: Path) -> None:
    content = json.loads((calibrated / "bundle.json").read_text())["calibration"]
    assert (content["manifest"], content["recordings"], content["speakers"]) == ("list.csv", 60, 6)
    assert {"negative log-likelihood", "Brier score", "expected calibration error"} <= set(
        content["measured"]
    )
    assert len(content["thresholds"]) == 99


def test_a_bundle_of_before_is_calibrated(audio: Path, tmp_path: Path) -> None:
    """The softmax of its graphs has no division yet."""
    source = tmp_path / "before"
    source.mkdir()
    for path in shipped_bundle().iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for path in source.glob("*.onnx"):
        model = onnx.load(path)
        divided = [node for node in model.graph.node if node.name == "/temperature/Div"]
        if divided:
            pytest.skip("the bundle that ships has the division")
    calibrate(source, tmp_path / "new", manifest=audio / "list.csv")
    found = voxmood.load(tmp_path / "new")
    assert (found.bundle.schema, found.bundle.temperature != 1) == (2, True)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        path.name for path in source.iterdir()
    }


def test_weights_in_a_file_of_their_own_are_kept(
    checkpoint: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxmood_export import graph

    monkeypatch.setattr(graph, "EXTERNAL_DATA_BYTES", 0)
    export_bundle(checkpoint, tmp_path / "old", precisions=["fp32"])
    calibrate(tmp_path / "old", tmp_path / "new", manifest=audio / "list.csv")
    old, new = (tmp_path / name / "model.fp32.onnx.data" for name in ("old", "new"))
    assert old.read_bytes() == new.read_bytes()
    assert (tmp_path / "new" / "model.fp32.onnx").stat().st_size < 1 << 20
    assert voxmood.load(tmp_path / "new").predict(audio / "0.wav").unsure is not None


def test_a_second_calibration_begins_without_the_first(
    bundle: Path, calibrated: Path, audio: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    other = write_manifest(
        audio / "other.csv", ["label"], [[str(random.choice(NAMES[:2]))] for _ in range(40)]
    )
    once = calibrate(bundle, tmp_path / "once", manifest=other)
    twice = calibrate(calibrated, tmp_path / "twice", manifest=other)
    assert once.earlier is None
    assert twice.earlier is not None
    assert once.calibration == twice.calibration
    assert "begins without it" in twice.report().as_text()
    for path in (tmp_path / "once").iterdir():
        assert path.read_bytes() == (tmp_path / "twice" / path.name).read_bytes()


def test_values_are_scaled(values: Path, audio: Path, tmp_path: Path) -> None:
    model = voxmood.load(values, precision="fp32")
    found = np.array([model.predict(audio / f"{i}.wav").logits for i in range(CLIPS)], np.float64)
    noise = np.random.default_rng(0).normal(0, 0.05, found.shape)
    truth = 0.2 * found + 0.5 + noise
    manifest = write_manifest(
        audio / "values.csv", VALUES, [[f"{each:.9f}" for each in row] for row in truth]
    )
    done = calibrate(f"{values}@fp32", tmp_path / "new", manifest=manifest)
    for precision in ("fp32", "int8"):
        before, after = (answers(each, precision, audio) for each in (values, tmp_path / "new"))
        for old, new in zip(before, after, strict=True):
            expected = old.logits * done.calibration.scales + done.calibration.offsets
            assert list((new.values or {}).values()) == pytest.approx(expected, abs=1e-5)
            assert new.label is None
            assert new.unsure is not None
    new_model = voxmood.load(tmp_path / "new", precision="fp32")
    now = np.array([new_model.predict(audio / f"{i}.wav").logits for i in range(CLIPS)])
    for place in range(3):
        correlation = np.corrcoef(truth[:, place], found[:, place])[0, 1]
        assert ccc(truth[:, place], now[:, place]) == pytest.approx(correlation, abs=1e-4)
    again = calibrate(f"{tmp_path / 'new'}@fp32", tmp_path / "again", manifest=manifest)
    assert again.calibration.scales == pytest.approx(done.calibration.scales, rel=1e-4)
    assert again.calibration.offsets == pytest.approx(done.calibration.offsets, rel=1e-3, abs=1e-4)


def test_values_have_no_confidence(values: Path) -> None:
    with pytest.raises(CalibrationError, match="gives values and no probabilities"):
        voxmood.load(values, min_confidence=0.5)


def test_values_that_go_against_the_truth(values: Path, audio: Path, tmp_path: Path) -> None:
    model = voxmood.load(values)
    rows = [
        [f"{-each:.6f}" for each in model.predict(audio / f"{i}.wav").logits] for i in range(40)
    ]
    manifest = write_manifest(audio / "against.csv", VALUES, rows)
    with pytest.raises(CalibrationError, match="arousal does not rise with the true one"):
        calibrate(values, tmp_path / "new", manifest=manifest)


def test_several_labels(several: Path, audio: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    rows = [["+".join(random.choice(NAMES, 2, replace=False))] for _ in range(40)]
    manifest = write_manifest(audio / "several.csv", ["label"], rows)
    calibrate(several, tmp_path / "new", manifest=manifest)
    model = voxmood.load(tmp_path / "new")
    prediction = model.predict(audio / "0.wav")
    expected = expit(prediction.logits.astype(np.float64) / model.bundle.temperature)
    assert list(prediction.numbers.values()) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(CalibrationError, match="chooses one of several labels"):
        prediction.candidates()


def rows(count: int, labels: Sequence[str] = NAMES) -> list[list[str]]:
    return [[labels[index % len(labels)]] for index in range(count)]


@pytest.mark.parametrize(
    ("listed", "speakers", "error", "message"),
    [
        (rows(29), 6, CalibrationError, "there are 29 labeled recordings. Calibrating takes 30"),
        (rows(40, ["ang"]), 6, CalibrationError, "all recordings have the same label. Calibrating"),
        (rows(40), 1, CalibrationError, "all recordings are of one speaker, 's0'. Calibrating"),
        (rows(40, ["joy", "ang"]), 6, ManifestError, r"unknown to the model: 'joy' \(20\)"),
        (rows(90), 6, CalibrationError, "30 recordings cannot be read, and 0 may be"),
    ],
    ids=["too few", "one label", "one speaker", "other labels", "missing files"],
)
def test_recordings_that_calibrate_nothing(
    bundle: Path,
    audio: Path,
    tmp_path: Path,
    listed: list[list[str]],
    speakers: int,
    error: type[VoxmoodError],
    message: str,
) -> None:
    manifest = write_manifest(audio / "bad.csv", ["label"], listed, speakers)
    with pytest.raises(error, match=message):
        calibrate(bundle, tmp_path / "new", manifest=manifest)
    assert list(tmp_path.iterdir()) == []


def test_too_few_remain_readable(bundle: Path, audio: Path, tmp_path: Path) -> None:
    manifest = write_manifest(audio / "bad.csv", ["label"], rows(90))
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], *lines[40:]]) + "\n")  # 21 of 51 are there
    with pytest.raises(CalibrationError, match="there are 21 labeled recordings"):
        calibrate(bundle, tmp_path / "new", manifest=manifest, max_unreadable=30)


def test_one_value_for_all(values: Path, audio: Path, tmp_path: Path) -> None:
    manifest = write_manifest(
        audio / "same.csv", VALUES, [[str(i), "1", str(i)] for i in range(40)]
    )
    with pytest.raises(CalibrationError, match="dominance is the same for all recordings"):
        calibrate(values, tmp_path / "new", manifest=manifest)


def test_without_speakers_it_is_measured_by_recording(
    bundle: Path, audio: Path, tmp_path: Path
) -> None:
    lines = (audio / "list.csv").read_text().splitlines()
    cut = [",".join(np.array(line.split(","))[[0, 2]]) for line in lines]
    (audio / "alone.csv").write_text("\n".join(cut) + "\n")
    done = calibrate(bundle, tmp_path / "new", manifest=audio / "alone.csv")
    assert done.calibration.speakers is None
    assert "cross-validated by recording" in done.report().as_text()


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (lambda bundle, new: bundle, voxmood.OutputError),
        (lambda bundle, new: bundle.parent, voxmood.OutputError),
        (lambda bundle, new: new, OutputExistsError),
    ],
    ids=["the bundle itself", "what holds it", "an output that exists"],
)
def test_nothing_is_overwritten(
    bundle: Path,
    calibrated: Path,
    audio: Path,
    output: Callable[[Path, Path], Path],
    error: type[VoxmoodError],
) -> None:
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(error):
        calibrate(bundle, output(bundle, calibrated), manifest=audio / "list.csv")
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_graph_that_answers_otherwise_is_not_written(
    bundle: Path, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "set_temperature", lambda graph, temperature: None)
    with pytest.raises(VerificationError, match="Nothing was written"):
        calibrate(bundle, tmp_path / "new", manifest=audio / "list.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_precision_is_noticed_before_the_work(
    bundle: Path, audio: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in bundle.iterdir():
        content = path.read_bytes()
        (damaged / path.name).write_bytes(content[:-1] if "int8" in path.name else content)
    with pytest.raises(BundleError, match="int8"):
        calibrate(f"{damaged}@fp32", tmp_path / "new", manifest=audio / "list.csv")


def test_graphs_of_another_calibration_are_refused(
    bundle: Path, calibrated: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in bundle.iterdir():
        (mixed / path.name).write_bytes(path.read_bytes())
    content: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    new = json.loads((calibrated / "bundle.json").read_text())
    content["calibration"] = new["calibration"]
    (mixed / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="temperature"):
        voxmood.load(mixed)


def test_the_command(
    bundle: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", str(bundle), "--manifest", str(audio / "list.csv")]
    arguments += ["--output", str(tmp_path / "new")]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "cross-validated by speaker (6)" in text
    assert "temperature" in text
    assert main(arguments) == 1
    assert "already exists; pass --force to replace it" in capsys.readouterr().err
    assert main([*arguments, "--force", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["calibration"]["recordings"] == CLIPS
    assert main(["info", str(tmp_path / "new")]) == 0
    assert "list.csv, 60 recordings of 6 speakers" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "new"), "--manifest", str(audio / "list.csv")]) == 0
    assert "coverage of 90% sets" in capsys.readouterr().out


@pytest.mark.parametrize("unlike", [True, False], ids=["speakers unlike", "speakers alike"])
def test_a_calibration_that_makes_answers_worse_says_so(
    bundle: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unlike: bool
) -> None:
    """Make the model always right about one speaker, and always wrong about the other one."""
    model = voxmood.load(bundle)
    ordered = []
    for index in range(CLIPS):
        numbers = model.predict(audio / f"{index}.wav").numbers
        ordered.append(sorted(numbers, key=lambda label: -numbers[label]))
    listed = [[each[-1 if unlike and i % 2 else 0]] for i, each in enumerate(ordered)]
    manifest = write_manifest(audio / "unlike.csv", ["label"], listed, speakers=2)
    arguments = ["calibrate", str(bundle), "--manifest", str(manifest), "--json"]
    assert main([*arguments, "--output", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert ("negative log-likelihood" in report["worse"]) == unlike
    if unlike:
        assert printed.err.startswith("voxmood: warning: the calibration makes answers about other")
        assert "several hundred recordings of ten speakers" in printed.err
        for name in report["worse"]:
            before, after = report["calibration"]["measured"][name]
            assert f"{name} {before:.4g} before, {after:.4g} after" in printed.err
    else:
        assert (report["worse"], printed.err) == ([], "")
