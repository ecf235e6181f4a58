"""The whole suite: with stand-ins for processes, and once for real on the small random bundle."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from near import NETWORK_DB
from variations import first_of

import voxmood
from voxmood import AudioError
from voxmood.audio.listing import Recording
from voxmood.bundle.description import read_bundle
from voxmood.cli import main
from voxmood.comparison.metrics import agreement, ccc
from voxmood_bench.engines import models
from voxmood_bench.engines.environments import REQUIREMENTS
from voxmood_bench.engines.lineup import BASELINES, CUDA_BASELINES, REFERENCE, lineup
from voxmood_bench.engines.process import (
    CONVERTERS,
    LOADERS,
    Conversion,
    Loaded,
    LoadSettings,
    MemoryUse,
    Runs,
)
from voxmood_bench.errors import BenchmarkError, DatasetError, ReportError
from voxmood_bench.measure import rounds
from voxmood_bench.measure.plan import Plan
from voxmood_bench.measure.suite import Suite
from voxmood_bench.report.files import read_report, write_report
from voxmood_bench.report.html import as_html
from voxmood_bench.report.schema import AnswersFailure, AudioFacts, Startup, StartupFailure
from voxmood_bench.report.tables import as_markdown
from voxmood_export import calibrate
from voxmood_export.clips import speech_like
from voxmood_export.testing import DIMENSIONS

pytestmark = pytest.mark.linux  # as `bench run` itself

LABELS = ("neu", "hap", "ang", "sad")
INT8, AGAIN = "voxmood int8", "voxmood int8 again"


class FakeWorker:
    """Stands for a process: engines take their own time a second, but for some that fail."""

    TIMES: ClassVar = {REFERENCE: 0.1, INT8: 0.02, AGAIN: 0.02, "voxmood fp32": 0.05}
    LABELS: ClassVar = 4
    asked: ClassVar[Counter[str]] = Counter()

    def __init__(self, python: str | None, log: Path) -> None:
        self.name = log.stem

    def count(self, command: str) -> None:
        FakeWorker.asked[f"{command} {self.name}"] += 1

    def convert(self, kind: str, conversion: Conversion) -> None:
        (Path(conversion.target) / "model.onnx").touch()

    def load(self, kind: str, model: str, threads: int, settings: LoadSettings) -> Loaded:
        self.count("load")
        if self.name == "PyTorch bfloat16":
            raise BenchmarkError("RuntimeError: no bfloat16 here")
        return Loaded(0.5, 0.25, {"engine": "1.0"})

    def run(self, audio: Path, least_seconds: float = 0.0, most_runs: int = 1) -> Runs:
        self.count("run")
        if self.name == "stock ONNX Runtime fp32":
            raise BenchmarkError("its process ended with status -9.")
        seconds = len(np.load(audio)) / 16000 * self.TIMES.get(self.name, 0.04)
        return Runs([seconds] * 2, [0.5, 0.25, 0, 0][: self.LABELS], 0.0)

    def memory(self) -> MemoryUse:
        self.count("memory")
        return MemoryUse(40.0, 100.0 if "int8" in self.name else 400.0)

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    monkeypatch.setattr(models, "Worker", FakeWorker)
    monkeypatch.setattr(models, "environment", lambda name, folder: name)
    monkeypatch.setattr(rounds, "PAUSE", 0.0)
    FakeWorker.asked = Counter()
    return FakeWorker


@pytest.fixture
def plan(bundle: Path, checkpoint: Path, tmp_path: Path) -> Plan:
    folder = tmp_path / "clips"
    folder.mkdir()
    recordings = []
    for index in range(6):
        path = folder / f"{index}.wav"
        soundfile.write(path, speech_like(1.0, 16000, index), 16000)
        recordings.append(Recording(path.name, path, LABELS[index % 4], f"speaker {index % 3}"))
    return Plan(
        bundle=bundle,
        reference=str(checkpoint),
        recordings=recordings,
        dataset="a test",
        left_out={"bor": 2},
        providers=["cpu"],
        baselines=[],
        lengths=[1.0, 2.0],
        threads=[1, 2],
        rounds=3,
        most_rounds=3,
        starts=2,
        cache=tmp_path / "cache",
    )


def test_report(plan: Plan, tmp_path: Path, fakes: type[FakeWorker]) -> None:
    steps: list[float] = []
    baselines = ["PyTorch bfloat16", "stock ONNX Runtime fp32", "stock ONNX Runtime int8"]
    whole = Suite(
        replace(plan, baselines=baselines), tmp_path / "out", lambda step, done: steps.append(done)
    )
    report = whole.run()
    path = tmp_path / "report.json"
    write_report(path, report)
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert read_report(path) == report
    assert list(report.engines) == [REFERENCE, INT8, "voxmood fp32", AGAIN, *baselines]
    assert [name for name, facts in report.engines.items() if facts.baseline] == baselines
    assert [(cell.seconds, cell.threads) for cell in report.speed] == [
        (1.0, 1), (2.0, 1), (1.0, 2), (2.0, 2)
    ]  # fmt: skip
    cell = report.headline_cell
    assert cell is report.speed[2]
    assert cell.rounds == 3
    latency = cell.engines[INT8]
    assert latency.median_ms == latency.first_ms == pytest.approx(20)
    assert latency.runs == 6
    assert latency.real_time_factor == pytest.approx(0.02)
    fp32, copy = cell.engines["voxmood fp32"], cell.engines[AGAIN]
    assert latency.of_reference
    assert fp32.main_of_it
    assert copy.main_of_it
    assert latency.of_reference.ratio == pytest.approx(0.2)
    assert fp32.main_of_it.ratio == pytest.approx(0.4)
    assert copy.main_of_it.in_noise is True
    assert latency.of_reference.in_noise is False

    failed = {"PyTorch bfloat16": "no bfloat16", "stock ONNX Runtime fp32": "status -9"}
    assert cell.errors.keys() == failed.keys()
    starts = {(row.engine, row.way): row for row in report.start}
    failures = {row.engine: row.error for row in report.accuracy if isinstance(row, AnswersFailure)}
    for name, why in failed.items():
        row = starts[name, ""]
        assert isinstance(row, StartupFailure)
        assert why in row.error
        assert why in cell.errors[name]
        assert why in failures[name]
    low_memory, usual, reference = (
        starts[key] for key in ((INT8, "low_memory=True"), (INT8, ""), (REFERENCE, ""))
    )
    assert isinstance(low_memory, Startup)
    assert isinstance(usual, Startup)
    assert isinstance(reference, Startup)
    assert reference.peak_resident_mb == 400
    assert low_memory.load_s == 0.25
    assert usual.disk_mb == read_bundle(plan.bundle).precisions["int8"].bytes / 1e6
    assert reference.installed_mb > 3 * usual.installed_mb

    assert {*report.scores, *failures} == {REFERENCE, INT8, "voxmood fp32", *baselines}
    assert (report.scores["voxmood fp32"].sqnr_db or 0.0) > NETWORK_DB
    assert np.sum(report.scores[INT8].confusion) == 6
    loaded = [voxmood.load(plan.bundle, precision=name) for name in ("fp32", "int8")]
    ours = [[model.predict(one.path).logits for one in plan.recordings] for model in loaded]
    assert report.scores[INT8].agreement == agreement(ours[0], ours[1])
    assert report.audio == AudioFacts(
        dataset="a test",
        recordings=6,
        speakers=3,
        labels={"neu": 2, "hap": 2, "ang": 1, "sad": 1},
        left_out={"bor": 2},
    )
    assert {profile.precision for profile in report.profile} == {"fp32", "int8"}
    assert sum(steps) <= whole.steps + 1e-6
    assert fakes.asked[f"load {INT8}"] == 4 + 3 * plan.starts


def test_an_interrupted_run_goes_on(
    plan: Plan, tmp_path: Path, fakes: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_at(step: str) -> Suite:
        def progress(now: str, done: float) -> None:
            if now == step:
                raise KeyboardInterrupt

        return Suite(plan, tmp_path / "out", progress)

    stops = ["2 s of audio, 1 threads: round 2", f"start {INT8}", f"label with {INT8}"]
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(stop).run()
    fakes.asked.clear()
    report = Suite(plan, tmp_path / "out").run()
    assert not any(asked.startswith(("load PyTorch", "run PyTorch")) for asked in fakes.asked)
    assert [cell.rounds for cell in report.speed] == [3, 3, 3, 3]
    fakes.asked.clear()
    again = Suite(plan, tmp_path / "out").run()
    assert not fakes.asked  # everything was there
    assert again == report
    with pytest.raises(ReportError, match=r"another run \(lengths, rounds differ\)"):
        Suite(replace(plan, rounds=5, most_rounds=5, lengths=[1.0]), tmp_path / "out")
    (tmp_path / "out" / "rows" / "run.json").write_text("{")
    with pytest.raises(ReportError, match="not valid JSON"):
        Suite(plan, tmp_path / "out")


def test_a_damaged_row_is_named(plan: Plan, tmp_path: Path, fakes: type[FakeWorker]) -> None:
    Suite(plan, tmp_path / "out").run()
    (tmp_path / "out" / "rows" / f"start-{INT8}.json").write_text('{"engine": "another"}')
    with pytest.raises(ReportError, match=rf"start-{INT8}\.json: is damaged .*; delete it"):
        Suite(plan, tmp_path / "out").run()


@pytest.mark.parametrize("layout", first_of(["audeering", "multilabel", "ehcalabres"], 2))
def test_every_task_and_head(
    layout: str, plan: Plan, exported: Callable[[str], Path], tmp_path: Path,
    fakes: type[FakeWorker], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fakes, "LABELS", 3 if layout == "audeering" else 4)
    bundle = exported(layout) / "bundle"
    baselines = ["stock ONNX Runtime int8", "voxmood fp32 in OpenVINO bfloat16"]
    recordings = [replace(each, label=None) for each in plan.recordings]
    plan = replace(
        plan, bundle=bundle, reference=str(exported(layout) / "checkpoint"), recordings=recordings,
        baselines=baselines, lengths=[1.0], threads=[1], starts=1,
    )  # fmt: skip
    report = Suite(plan, tmp_path / "out").run()
    write_report(tmp_path / "report.json", report)
    assert read_report(tmp_path / "report.json") == report
    page, markdown = as_html(report), as_markdown(report)

    # A head that transformers does not have is not measured with random weights.
    stock = report.speed[0].errors.get(baselines[0], "")
    assert ("no class with the checkpoint's head" in stock) is (layout != "multilabel")
    assert baselines[1] in report.speed[0].engines

    loaded = [voxmood.load(bundle, precision=name) for name in ("fp32", "int8")]
    ours = [np.stack([model.predict(each.path).logits for each in recordings]) for model in loaded]
    if layout != "audeering":
        assert not report.values
        task = "multilabel" if layout == "multilabel" else "classification"
        assert report.answers[INT8].agreement == agreement(ours[0], ours[1], task)
        assert (report.answers["voxmood fp32"].sqnr_db or 0.0) > NETWORK_DB
        assert "Drift of probabilities" in page
        return
    assert not report.answers
    assert (report.values["voxmood fp32"].sqnr_db or 0.0) > NETWORK_DB
    for index, (name, found) in enumerate(report.values[INT8].values.items()):
        assert name == DIMENSIONS[index]
        assert found.ccc == pytest.approx(ccc(ours[0][:, index], ours[1][:, index]), abs=1e-4)
        expected = np.abs(ours[1] - ours[0])[:, index].max()
        assert found.max_error == pytest.approx(expected, abs=1e-4)
        for text in (page, markdown):
            assert f"largest difference of {name}" in text
            assert f"CCC of {name}" in text
    for text in (page, markdown):
        assert "same label" not in text
        assert "UAR" not in text
        assert "rift" not in text
    gate = ["bench", "gate", str(tmp_path / "report.json"), "--engine", "voxmood fp32"]
    assert main([*gate, "--min-agreement", "0.9999", "--max-drift", "1e-3"]) == 0
    assert main([*gate, "--max-drift", "1e-9"]) == 1


def test_calibrated_values_are_near_what_calibration_makes_of_the_references(
    plan: Plan, exported: Callable[[str], Path], tmp_path: Path, fakes: type[FakeWorker]
) -> None:
    folder = exported("audeering")
    model = voxmood.load(folder / "bundle", precision="fp32")
    lines = ["path," + ",".join(DIMENSIONS)]
    for index in range(30):
        clip = speech_like(0.5, 16000, index)
        soundfile.write(tmp_path / f"{index}.wav", clip, 16000)
        truth = 0.5 + 0.1 * model.predict(clip, sampling_rate=16000).logits
        lines.append(",".join([f"{index}.wav", *map(str, truth)]))
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(lines))
    calibrate(f"{folder / 'bundle'}@fp32", tmp_path / "bundle", manifest=manifest)
    recordings = [replace(each, label=None) for each in plan.recordings]
    plan = replace(
        plan, bundle=tmp_path / "bundle", reference=str(folder / "checkpoint"),
        recordings=recordings, lengths=[1.0], threads=[1], starts=1,
    )  # fmt: skip
    report = Suite(plan, tmp_path / "out").run()
    assert (report.values["voxmood fp32"].sqnr_db or 0.0) > NETWORK_DB


def test_the_rows_of_pytorch_name_transformers(
    plan: Plan, tmp_path: Path, fakes: type[FakeWorker]
) -> None:
    report = Suite(replace(plan, lengths=[1.0], threads=[1]), tmp_path / "out").run()
    facts = replace(report.engines[REFERENCE], versions={"torch": "2", "transformers": "4.57.6"})
    report = replace(report, engines={**report.engines, REFERENCE: facts})
    for text in (as_markdown(report), as_html(report)):
        assert "PyTorch float32, transformers 4.57.6" in text
        assert report.reference.how
        assert report.reference.how in text
        assert "torch 2, transformers 4.57.6" in text


def test_another_task_is_refused(
    plan: Plan, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    other = exported("multilabel") / "checkpoint"
    with pytest.raises(DatasetError, match="does multilabel, and the bundle does classification"):
        Suite(replace(plan, reference=str(other)), tmp_path / "out")


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_true_labels_need_a_classification(
    task: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    content = json.loads((copy / "bundle.json").read_text()) | {"task": task}
    (copy / "bundle.json").write_text(json.dumps(content))
    command = ["bench", "run", str(copy), "--reference", "checkpoint", "--output"]
    command += [str(tmp_path / "out"), "--dataset", "manifest", "--root", "list.csv"]
    assert main(command) == 1
    assert f"does {task}; use --audio" in capsys.readouterr().err


def test_labels_in_another_order_are_refused(plan: Plan, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(plan.reference, other)
    config = json.loads((other / "config.json").read_text())
    del config["label2id"]
    config["id2label"] = {"0": "neu", "1": "ang", "2": "hap", "3": "sad"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(DatasetError, match="neu, ang, hap, sad, in another order than"):
        Suite(replace(plan, reference=str(other)), tmp_path / "out")
    config["id2label"]["0"] = "calm"
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(DatasetError, match="other ones than the bundle's"):
        Suite(replace(plan, reference=str(other)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_recording_is_named(plan: Plan, tmp_path: Path, fakes: type[FakeWorker]) -> None:
    plan.recordings[3].path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"3\.wav"):
        Suite(plan, tmp_path / "out").run()


def test_lineup_copies_the_main_engine_and_no_other(bundle: Path) -> None:
    found = lineup(read_bundle(bundle), ["cpu", "cuda"], ["int8 products alone"])
    assert list(found) == [
        REFERENCE, INT8, "voxmood fp32", "voxmood int8 cuda", "voxmood fp32 cuda", AGAIN,
        "PyTorch float16 on CUDA", "int8 products alone",
    ]  # fmt: skip
    assert found[AGAIN] == found[INT8]
    baselines = [*BASELINES.values(), *CUDA_BASELINES.values()]
    assert {each.environment for each in baselines} - {None} == set(REQUIREMENTS)
    every = [*baselines, *found.values()]
    assert {each.kind for each in every} == set(LOADERS)
    assert {each.model for each in every} - {"bundle", "checkpoint", "fp32"} == set(CONVERTERS)


@pytest.mark.thorough
def test_command_for_real(
    bundle: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from voxmood_bench import cli

    monkeypatch.setattr(cli, "MOST_ROUNDS", 3)
    monkeypatch.setattr(rounds, "TURN_SECONDS", 0.0)
    output = tmp_path / "report"
    arguments = ["bench", "run", str(bundle), "--reference", str(checkpoint), "--rounds", "3"]
    arguments += ["--output", str(output), "--lengths", "1", "--threads", "1", "--starts", "1"]
    assert main([*arguments, "--clips", "3"]) == 0
    assert "voxmood fp32" in capsys.readouterr().out
    report = read_report(output / "report.json")
    sqnr = {name: row.sqnr_db or 0.0 for name, row in report.answers.items()}
    assert sqnr["voxmood fp32"] > NETWORK_DB
    assert sqnr[INT8] < sqnr["voxmood fp32"]
    assert report.speed[0].errors == {}
    assert all(isinstance(row, Startup) for row in report.start)
    ratio = report.speed[0].engines[INT8].of_reference
    assert ratio
    assert ratio.ratio > 0
    for name in ("report.md", "report.html"):
        assert INT8 in (output / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--rounds", "0"], 2, "at least 1"),
        (["--threads", "1,0"], 2, "at least 1"),
        (["--lengths", "-1"], 2, "above 0"),
        (["--map-labels", "bored"], 2, "FROM=TO"),
        (["--dataset", "ravdess"], 2, "invalid choice"),
        (["--dataset", "emodb"], 1, "--root"),
        (["--root", "folder"], 1, "--dataset"),
        (["--audio", "gone"], 1, "gone"),
        (["--peers", "tflite"], 1, "no engine 'tflite'; there are: PyTorch bfloat16"),
        (["--providers", "tpu"], 1, "no provider 'tpu'"),
        (["--dataset", "iemocap", "--root", "."], 1, "Session1 has 0 of 1085"),
    ],
)
def test_bad_usage(
    arguments: list[str], status: int, message: str, bundle: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["bench", "run", str(bundle), "--reference", "checkpoint"]
    command += ["--output", str(tmp_path / "out"), *arguments]
    try:
        found = main(command)
    except SystemExit as error:
        found = int(error.code or 0)
    assert found == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--output", "--environments"])
@pytest.mark.parametrize("inside", ["bundle", "link", "checkpoint", "checkpoint/report"])
def test_nothing_is_written_into_what_is_measured(
    option: str, inside: str, bundle: Path, checkpoint: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    (tmp_path / "link").symlink_to("bundle")
    before = sorted(tmp_path.rglob("*"))
    command = ["bench", "run", str(tmp_path / "bundle"), "--reference"]
    command += [str(tmp_path / "checkpoint"), "--output", str(tmp_path / "out")]
    assert main([*command, option, str(tmp_path / inside)]) == 1
    assert "lies inside an input" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_every_baseline_for_real(plan: Plan, tmp_path: Path) -> None:
    plan = replace(plan, baselines=list(BASELINES), lengths=[1.0], threads=[1], starts=1)
    report = Suite(plan, tmp_path / "out").run()
    assert report.speed[0].errors == {}
    sqnr = {name: row.sqnr_db or 0.0 for name, row in report.answers.items()}
    assert sqnr["stock ONNX Runtime fp32"] > NETWORK_DB
    fast, accurate = (name for name in BASELINES if "NNCF" in name)
    assert sqnr[accurate] > max(sqnr[fast], 20)  # 30 dB on some of these recordings
    assert report.audio.calibrated_on == 0
    assert all(isinstance(row, Startup) for row in report.start)
    assert not any(isinstance(row, AnswersFailure) for row in report.accuracy)
