"""Bundles of values and of several labels, in every command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voxmood
from voxmood.cli import main
from voxmood.comparison.metrics import agreement, ccc, sqnr
from voxmood_export.clips import speech_like

RATE = 16000
NAMES = ["arousal", "dominance", "valence"]


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for seed in range(6):
        soundfile.write(folder / f"{seed}.wav", speech_like(1.0, RATE, seed), RATE)
    return folder


def test_predict_and_timeline(
    values: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = str(audio / "0.wav"), ["--model", f"{values}@fp32"]
    expected = voxmood.load(values, precision="fp32").predict(path).values or {}
    assert main(["predict", path, *model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: (1.0 s)"
    assert [line.split()[0] for line in lines[1:]] == NAMES
    assert [float(line.split()[1]) for line in lines[1:]] == pytest.approx(
        list(expected.values()), abs=1e-3
    )
    assert main(["predict", path, str(tmp_path / "gone.wav"), "--json", *model]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["values"] == pytest.approx(expected, abs=1e-6)
    assert list(rows[0]) == list(rows[1]) == ["path", "values", "duration_s", "warnings", "error"]
    assert rows[1]["values"] is None
    windows = ["--window", "0.5", "--hop", "0.25", *model]
    assert main(["timeline", path, *windows, "--csv"]) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(table[0]) == ["path", "start", "end", *NAMES, "silent", "warnings", "error"]
    picture = tmp_path / "plot.svg"
    assert main(["timeline", path, *windows, "--plot", str(picture)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    mean = np.mean([float(row["arousal"]) for row in table])
    assert f"mean arousal {mean:.3f}" in last
    assert picture.exists()


def test_plots_have_a_line_for_each_value() -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import StepPatch

    from voxmood.plot import _draw_answers  # the figure's upper part

    segments = [
        voxmood.Segment(t, t + 1, None, None, t == 2, {"arousal": 0.1 * t, "valence": -2.0})
        for t in range(5)
    ]
    axes = Figure().subplots()
    _draw_answers(axes, segments)
    patches = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    steps: dict[str, Any] = {str(patch.get_label()): patch.get_data() for patch in patches}
    assert list(steps) == ["silence", "arousal", "valence"]
    heard = steps["arousal"].values
    assert np.isnan(heard[2])
    assert heard[[0, 1, 3, 4]] == pytest.approx([0, 0.1, 0.3, 0.4])
    low, high = axes.get_ylim()
    assert low < -2 < 0.4 < high


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_batch_and_resume(values: Path, audio: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"table.{suffix}"
    voxmood.batch([audio], output, model=values)
    whole = output.read_bytes()
    if suffix == "csv":
        assert whole.decode().splitlines()[0] == f"path,{','.join(NAMES)},duration_s,warnings,error"
    output.write_bytes(whole[: len(whole) * 2 // 3])
    voxmood.batch([audio], output, model=values, resume=True)
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_compare_measures_values(values: Path, audio: Path, tmp_path: Path) -> None:
    paths = sorted(audio.glob("*.wav"))
    one, other = (
        np.stack([p.logits for p in voxmood.load(values, precision=name).predict_batch(paths)])
        for name in ("fp32", "int8")
    )
    manifest = tmp_path / "manifest.csv"
    truth = one[:, 2].astype(float) + np.linspace(-1, 1, len(paths))
    rows = [f"{path.name},{value}" for path, value in zip(paths, truth, strict=True)]
    manifest.write_text("\n".join(["path,valence", *rows]))
    models = (f"{values}@fp32", f"{values}@int8")
    comparison = voxmood.compare(*models, audio=audio, manifest=manifest, min_agreement=0.5)
    found = {name: measure.value for name, measure in comparison.measures.items()}
    for index, name in enumerate(NAMES):
        assert found[f"CCC of {name}"] == lin(one[:, index], other[:, index])
    assert found["CCC of reference to true valence"] == lin(truth, one[:, 2])
    assert found["CCC of candidate to true valence"] == lin(truth, other[:, 2])
    assert "CCC of reference to true arousal" not in found
    change = np.abs(one - other)
    assert found["largest difference of a value"] == pytest.approx(change.max(), abs=1e-5)
    assert found["mean difference of a value"] == pytest.approx(change.mean(), abs=1e-5)
    power = ((one - one.mean(axis=0)) ** 2).sum() / (change**2).sum()
    assert found["SQNR"] == pytest.approx(10 * np.log10(power), abs=0.01)
    assert comparison.passed
    assert not voxmood.compare(*models, audio=audio, min_agreement=1.0).passed
    assert not voxmood.compare(*models, audio=audio, max_drift=1e-6).passed
    manifest.write_text(f"path,valence\n{paths[0].name},high\n")
    with pytest.raises(voxmood.ManifestError, match="has 'high' as its valence; write a number"):
        voxmood.compare(*models, audio=audio, manifest=manifest)


def lin(one: np.ndarray, other: np.ndarray) -> Any:
    """Lin's coefficient by its other definition: the correlation times the bias correction."""
    scale, shift = one.std() / other.std(), (one.mean() - other.mean()) ** 2
    bias = 2 / (scale + 1 / scale + shift / (one.std() * other.std()))
    # Batches differ from single runs by rounding.
    return pytest.approx(np.corrcoef(one, other)[0, 1] * bias, abs=1e-4)


def test_ccc_at_its_ends() -> None:
    assert ccc([1.0], [1.0]) is None
    assert ccc([2.0, 2.0], [2.0, 2.0]) == 1
    assert ccc([2.0, 2.0], [3.0, 3.0]) == 0
    assert ccc([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]) == pytest.approx(1)
    assert ccc([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1)
    assert sqnr([[1.0]], [[2.0]], "regression") == -np.inf


def test_several_labels(several: Path, audio: Path) -> None:
    models = (f"{several}@fp32", f"{several}@int8")
    comparison = voxmood.compare(*models, audio=audio, min_agreement=0.0)
    answers = [
        [p.logits for p in voxmood.load(name).predict_batch(sorted(audio.glob("*.wav")))]
        for name in models
    ]
    same = np.mean([((a > 0) == (b > 0)).all() for a, b in zip(*answers, strict=True)])
    assert comparison.measures["label agreement"].value == pytest.approx(same)
    assert agreement(answers[0], answers[1], "multilabel") == pytest.approx(same)
    assert agreement([[1.0, 2.0]], [[-1.0, 2.0]], "multilabel") == 0
    assert "SQNR" in comparison.measures
    assert comparison.report().as_text()


def test_tasks_are_compared_with_their_like(values: Path, several: Path, audio: Path) -> None:
    with pytest.raises(voxmood.BundleError, match="differ: task regression against multilabel"):
        voxmood.compare(values, several, audio=audio)


@pytest.mark.parametrize("task", ["ranking", None, 3])
def test_a_task_that_is_not_known(values: Path, tmp_path: Path, task: object) -> None:
    content = json.loads((values / "bundle.json").read_text()) | {"task": task}
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(voxmood.BundleError, match="task"):
        voxmood.load(tmp_path)


def test_schema_1_is_a_classification() -> None:
    model = voxmood.load()
    if model.bundle.schema == 1:
        assert model.bundle.task == "classification"
        assert json.loads(model.bundle.to_json())["schema"] == 1
        assert "task" not in json.loads(model.bundle.to_json())


def test_evaluate(values: Path, several: Path, audio: Path, tmp_path: Path) -> None:
    truth = np.random.default_rng(0).normal(size=(6, 3))
    lines = [f"{i}.wav,s{i % 3},{','.join(map(str, row))}" for i, row in enumerate(truth)]
    manifest = tmp_path / "values.csv"
    manifest.write_text("\n".join([f"path,speaker,{','.join(NAMES)}", *lines]))
    found = voxmood.evaluate(f"{values}@fp32", manifest=manifest, audio=audio)
    model = voxmood.load(values, precision="fp32")
    answers = [model.predict(path) for path in sorted(audio.glob("*.wav"))]
    for i, name in enumerate(NAMES):
        expected = ccc(truth[:, i], [answer.numbers[name] for answer in answers])
        assert found.measures[f"CCC of {name}"].value == pytest.approx(expected, abs=1e-6)
        assert found.measures[f"RMSE of {name}"].interval is not None
    assert (found.accuracy, found.uar, found.labels) == (None, None, [])
    manifest.write_text(manifest.read_text().replace(lines[0], "0.wav,s0,1,,nan"))
    with pytest.raises(voxmood.ManifestError, match=r"'dominance  valence nan' \(1\)"):
        voxmood.evaluate(values, manifest=manifest, audio=audio)
    fewer = voxmood.evaluate(values, manifest=manifest, audio=audio, ignore_unknown=True)
    assert fewer.recordings == 5
    model = voxmood.load(several, precision="fp32")
    answers = model.predict_batch(sorted(audio.glob("*.wav")))
    sets = ["+".join(n for n, p in answer.numbers.items() if p > 0.5) for answer in answers]
    lines = ["path,label", *(f"{i}.wav,{labels}" for i, labels in enumerate(sets))]
    manifest.write_text("\n".join(lines))
    perfect = voxmood.evaluate(f"{several}@fp32", manifest=manifest, audio=audio)
    assert perfect.accuracy == 1
    assert perfect.confusion == []
