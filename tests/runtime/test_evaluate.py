"""Evaluation of one model against labels and values, and scikit-learn's figures for the same."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

import voxmood
from voxmood import Evaluation, ManifestError
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood.comparison import metrics
from voxmood_export.clips import speech_like

RATE = 16000
NAMES = ["neu", "hap", "ang", "sad"]
MODEL = f"{shipped_bundle()}@fp32"


def write_manifest(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips of five speakers with labels by chance, none of them sad."""
    folder = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(3)
    rows = []
    for seed in range(40):
        soundfile.write(folder / f"{seed}.wav", speech_like(0.5, RATE, seed), RATE)
        label = str(random.choice(NAMES[:3]))
        rows.append({"path": f"{seed}.wav", "label": label, "speaker": f"s{seed % 5}"})
    write_manifest(folder / "list.csv", rows)
    return folder


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    return voxmood.evaluate(MODEL, manifest=folder / "list.csv")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_figures_are_those_of_scikit_learn(folder: Path, evaluation: Evaluation) -> None:
    rows = read(folder / "list.csv")
    model = voxmood.load(MODEL)
    answers = [model.predict(folder / row["path"]) for row in rows]
    truth, found = [row["label"] for row in rows], [answer.label or "" for answer in answers]
    assert evaluation.accuracy == pytest.approx(accuracy_score(truth, found))
    assert evaluation.uar == pytest.approx(
        recall_score(truth, found, labels=NAMES[:3], average="macro")
    )
    occur = sorted({*truth, *found})
    expected = f1_score(truth, found, labels=occur, average="macro", zero_division=0)
    assert evaluation.measures["mean F1"].value == pytest.approx(expected)
    assert evaluation.confusion == confusion_matrix(truth, found, labels=NAMES).tolist()
    for label in evaluation.labels:
        only = {"labels": [label.name], "average": None, "zero_division": np.nan}
        for score, own in (
            (precision_score, label.precision),
            (recall_score, label.recall),
            (f1_score, label.f1),
        ):
            (theirs,) = score(truth, found, **only)
            assert (own is None and np.isnan(theirs)) or own == pytest.approx(theirs), score
    confidence = np.array([max(answer.numbers.values()) for answer in answers])
    right = np.array(truth) == np.array(found)
    shares, means = calibration_curve(right, confidence, n_bins=metrics.BINS)
    bins = np.searchsorted(np.linspace(0, 1, metrics.BINS + 1)[1:-1], confidence)
    counts = np.bincount(bins)
    error = np.average(np.abs(shares - means), weights=counts[counts > 0])
    assert evaluation.measures["expected calibration error"].value == pytest.approx(error)
    assert evaluation.recordings == 40
    assert evaluation.speakers == 5
    assert evaluation.passed


@pytest.mark.parametrize("clips", [1, 2, 50, 2000])
def test_sums_of_rows_are_figures_of_all(clips: int) -> None:
    random = np.random.default_rng(clips)
    chances = random.dirichlet(np.ones(4) * 0.5, clips)
    truth = np.eye(4, dtype=bool)[random.integers(0, 4, clips)]
    found = np.eye(4, dtype=bool)[chances.argmax(axis=1)]
    predicted, confidence = metrics.answers(chances, several=False)
    rows = metrics.class_rows(truth, predicted, confidence)
    sums = metrics.ClassSums.of(rows.sum(axis=0))
    classes, called = truth.argmax(axis=1), found.argmax(axis=1)
    assert sums.accuracy == pytest.approx(accuracy_score(classes, called))
    present = np.unique(classes)
    expected = recall_score(classes, called, labels=present, average="macro", zero_division=0)
    assert sums.figures()[1] == pytest.approx(expected)


def test_several_labels() -> None:
    random = np.random.default_rng(0)
    chances = random.random((300, 3))
    truth = random.random((300, 3)) < chances
    found = chances > 0.5
    rows = metrics.class_rows(truth, *metrics.answers(chances, several=True))
    sums = metrics.ClassSums.of(rows.sum(axis=0))
    assert sums.accuracy == pytest.approx(accuracy_score(truth, found))
    assert sums.f1 == pytest.approx(f1_score(truth, found, average=None))
    confidence, right = np.maximum(chances, 1 - chances).ravel(), (truth == found).ravel()
    shares, means = calibration_curve(right, confidence, n_bins=metrics.BINS)
    bins = np.searchsorted(np.linspace(0, 1, metrics.BINS + 1)[1:-1], confidence)
    counts = np.bincount(bins)
    error = np.average(np.abs(shares - means), weights=counts[counts > 0])
    assert sums.calibration_error == pytest.approx(error)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_values(offset: float) -> None:
    random = np.random.default_rng(0)
    truth = offset + random.normal(0.5, 0.2, (200, 2))
    found = truth * [1.0, 0.999999] + random.normal(0.1, 0.1, (200, 2))
    figures = metrics.value_figures(metrics.value_rows(truth, found).sum(axis=0))
    expected = [metrics.ccc(truth[:, i], found[:, i]) for i in range(2)]
    assert figures[:2] == pytest.approx(expected, rel=1e-6)
    assert figures[2:] == pytest.approx(np.sqrt(((truth - found) ** 2).mean(axis=0)))


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(5)
    groups = random.integers(0, 30, 600)
    right = random.random(600) < random.random(30)[groups]  # speakers differ
    rows = np.column_stack([np.ones(600), right]).astype(float)

    def share(sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums[1:] / sums[0])

    low, high = metrics.bootstrap(rows, groups, share)[:, 0]
    drawn = []
    for _ in range(4000):
        clips = np.concatenate([np.flatnonzero(groups == g) for g in random.integers(0, 30, 30)])
        drawn.append(right[clips].mean())
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.015)
    by_clip = metrics.bootstrap(rows, np.arange(600), share)[:, 0]
    assert high - low > 2 * (by_clip[1] - by_clip[0])
    assert np.isnan(metrics.bootstrap(rows, np.zeros(600), share)).all()


def test_intervals_hold_the_figure(evaluation: Evaluation) -> None:
    for measure in evaluation.measures.values():
        if measure.interval and measure.name != "expected calibration error":
            low, high = measure.interval
            assert low <= (measure.value or 0) <= high


def test_labels_of_other_names(folder: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    rows = read(folder / "list.csv")
    german = {"neu": "neutral", "hap": "Freude", "ang": "Ärger"}
    manifest = write_manifest(
        tmp_path / "list.csv", [row | {"label": german[row["label"]]} for row in rows]
    )
    with pytest.raises(ManifestError, match=r"'Ärger' \(\d+\).*ignore-unknown") as caught:
        voxmood.evaluate(MODEL, manifest=manifest, audio=folder)
    assert "'Freude'" in str(caught.value)
    back = {new: old for old, new in german.items()}
    same = voxmood.evaluate(MODEL, manifest=manifest, audio=folder, labels=back)
    assert same.confusion == evaluation.confusion
    del back["Freude"]
    fewer = voxmood.evaluate(
        MODEL, manifest=manifest, audio=folder, labels=back, ignore_unknown=True
    )
    happy = sum(row["label"] == "hap" for row in rows)
    assert fewer.unknown == {"Freude": happy}
    assert fewer.recordings == 40 - happy
    assert "'Freude'" in fewer.report().as_text()
    with pytest.raises(ManifestError, match="'angry' is not a label of the model"):
        voxmood.evaluate(MODEL, manifest=manifest, audio=folder, labels={"Ärger": "angry"})
    with pytest.raises(ManifestError, match="unknown to the model"):  # nothing would be left
        voxmood.evaluate(MODEL, manifest=manifest, audio=folder, ignore_unknown=True)


def test_a_manifest_without_truth(folder: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "list.csv", [{"path": "0.wav", "speaker": "s"}])
    with pytest.raises(ManifestError, match="no column `label`"):
        voxmood.evaluate(MODEL, manifest=manifest, audio=folder)


def test_unreadable_recordings_are_counted(folder: Path, tmp_path: Path) -> None:
    rows = [{"path": f"{i}.wav", "label": "neu"} for i in (0, 1, 99)]
    manifest = write_manifest(tmp_path / "list.csv", rows)
    found = voxmood.evaluate(MODEL, manifest=manifest, audio=folder)
    assert not found.passed
    assert found.speakers is None
    assert list(found.unreadable) == ["99.wav"]
    assert "list.csv, line 4" in found.unreadable["99.wav"]
    assert voxmood.evaluate(MODEL, manifest=manifest, audio=folder, max_unreadable=1).passed


class Page(HTMLParser):
    """Counts elements, and checks that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_command(
    folder: Path, evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    markdown, page = tmp_path / "report.md", tmp_path / "report.html"
    command = ["evaluate", MODEL, "--manifest", str(folder / "list.csv")]
    assert main([*command, "--json", "--markdown", str(markdown), "--html", str(page)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["measures"]["UAR"]["value"] == evaluation.uar
    assert report["confusion"] == evaluation.confusion
    assert report["labels"][3]["recall"] is None  # nobody is sad
    assert "| UAR |" in markdown.read_text()
    parsed = Page()
    parsed.feed(page.read_text())
    assert not parsed.open
    assert parsed.count["circle"] == len(evaluation.bins)
    assert parsed.count["rect"] >= 5
    assert "http" not in page.read_text()  # it needs no other file
    assert main(command) == 0
    assert "bootstrap by speaker (5)" in capsys.readouterr().out
    assert main([*command, "--labels", "neu=calm"]) == 1
    assert "'calm' is not a label" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--labels", "neu"])
    assert main([*command, "--html", str(folder / "0.wav")]) == 1
    assert "is also an input" in capsys.readouterr().err
