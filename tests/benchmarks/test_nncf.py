"""NNCF as a baseline: the recordings it calibrates on, what it is asked for, and what it makes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import Wav2Vec2FeatureExtractor

from voxmood.audio.listing import Recording
from voxmood.bundle.description import read_bundle
from voxmood.comparison.metrics import sqnr
from voxmood_bench.cli import add_arguments
from voxmood_bench.commands import run
from voxmood_bench.engines import models
from voxmood_bench.engines.lineup import BASELINES, is_calibrated
from voxmood_bench.engines.models import Models
from voxmood_bench.engines.process import (
    CONVERTERS,
    JUDGED_CLIPS,
    MAX_DROP,
    Conversion,
    Exactness,
    read_clips,
    write_clips,
)
from voxmood_bench.measure.plan import CALIBRATION_RECORDINGS, Plan
from voxmood_bench.report.files import read_report
from voxmood_bench.report.tables import summary
from voxmood_export.clips import speech_like

FAST, ACCURATE = "stock OpenVINO NNCF int8", "stock OpenVINO NNCF int8 (accuracy-aware)"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def recording(name: str) -> Recording:
    return Recording(name, Path("folder", name))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        bundle=tmp_path, reference="checkpoint", recordings=[recording("a.wav")], dataset="a test",
        left_out={}, providers=["cpu"], baselines=[FAST], lengths=[5.0], threads=[1], rounds=3,
        most_rounds=3, starts=1, cache=tmp_path, others=[recording("b.wav"), recording("c.wav")],
    )  # fmt: skip


def test_two_engines_are_calibrated() -> None:
    assert [name for name in BASELINES if is_calibrated(BASELINES[name])] == [FAST, ACCURATE]
    assert BASELINES[FAST].settings.precision is None  # the fastest that OpenVINO finds
    assert BASELINES[ACCURATE].settings.precision == "f32"


def test_every_baseline_can_be_asked_for() -> None:
    assert run._baselines(",".join(BASELINES)) == list(BASELINES)


@pytest.mark.parametrize("clips", [None, 1, 3, 7, 9])
def test_what_clips_leaves_out_is_calibrated_on(
    clips: int | None, bundle: Path, tmp_path: Path
) -> None:
    for index in range(7):
        soundfile.write(tmp_path / f"{index}.wav", speech_like(0.1, 16000, index), 16000)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    command = ["run", str(bundle), "--reference", "checkpoint", "--output", str(tmp_path / "out")]
    command += ["--audio", str(tmp_path), *(["--clips", str(clips)] if clips else [])]
    found = run._plan(parser.parse_args(command))
    compared, others = ({each.name for each in some} for some in (found.recordings, found.others))
    assert len(compared) == min(clips or 7, 7)
    assert not compared & others
    assert len(compared | others) == 7


@pytest.mark.parametrize("name", [FAST, ACCURATE])
def test_nncf_calibrates_on_other_recordings_if_there_are_any(
    name: str, plan: Plan, bundle: Path
) -> None:
    plan = replace(plan, baselines=[name])
    facts = plan.facts(read_bundle(bundle))
    assert facts.calibration == ["b.wav", "c.wav"]
    assert plan.audio_facts([]).calibrated_on == 2
    many = replace(plan, others=[recording(f"{index}.wav") for index in range(1000)])
    assert len(many.calibration or ()) == CALIBRATION_RECORDINGS
    alone = replace(plan, others=[])
    assert alone.facts(read_bundle(bundle)).calibration == ["a.wav"]
    assert alone.audio_facts([]).calibrated_on == 0


def test_a_plan_without_nncf_is_the_same_whatever_is_left_out(plan: Plan, bundle: Path) -> None:
    plan = replace(plan, baselines=["stock ONNX Runtime int8"])
    assert plan.calibration is None
    assert plan.audio_facts([]).calibrated_on is None
    description = read_bundle(bundle)
    assert plan.facts(description) == replace(plan, others=[]).facts(description)


@pytest.mark.parametrize(
    ("calibrated_on", "said"),
    [(None, None), (0, "NNCF is calibrated on the same ones"), (300, "on 300 other recordings")],
)
def test_a_report_says_what_nncf_was_calibrated_on(
    calibrated_on: int | None, said: str | None
) -> None:
    report = read_report(RESULTS / "voxmood-small-zen5.json")
    text = summary(replace(report, audio=replace(report.audio, calibrated_on=calibrated_on)))
    assert (said or "NNCF") in text if said else "NNCF" not in text


def test_a_model_is_made_again_for_other_clips(
    bundle: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class FakeWorker:
        def __init__(self, python: str | None, log: Path) -> None: ...

        def convert(self, kind: str, conversion: Conversion) -> None:
            made.append(kind)
            suffix = "xml" if kind.startswith("nncf") else "onnx"
            (Path(conversion.target) / f"model.{suffix}").touch()

        def __enter__(self) -> FakeWorker:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(models, "Worker", FakeWorker)
    monkeypatch.setattr(models, "environment", lambda name, folder: name)
    clips = [speech_like(0.1, 16000, seed) for seed in range(3)]

    def paths(name: str, clips: list[Any]) -> list[str]:
        file = tmp_path / f"{name}.npz"
        write_clips(file, clips)
        description = read_bundle(bundle)
        found = Models(str(checkpoint), bundle, description, 1, tmp_path, tmp_path / "gone", file)
        return [found.path(model) for model in ("nncf", "nncf_accurate")]

    first = paths("first", clips)
    assert made == ["stock", "nncf", "nncf_accurate"]
    assert paths("the same again", clips) == first
    assert made == ["stock", "nncf", "nncf_accurate"]
    assert not {*first} & {*paths("other", clips[1:])}
    assert made == ["stock", "nncf", "nncf_accurate", "nncf", "nncf_accurate"]


def test_clips_are_kept_as_they_are(tmp_path: Path) -> None:
    clips = [speech_like(0.1 * (1 + seed), 16000, seed) for seed in range(12)]
    write_clips(tmp_path / "clips.npz", clips)
    for before, after in zip(clips, read_clips(str(tmp_path / "clips.npz")), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_exactness_is_the_sqnr(task: str) -> None:
    random = np.random.default_rng(0)
    expected = random.normal(3, 1, (6, 4))
    given = expected + random.normal(0.5, 0.1, (6, 4))  # partly common to the labels of a clip
    exactness = Exactness(expected, task)
    figure, each = exactness(lambda inputs: [given[inputs, None]], list(enumerate(expected)))
    assert -10 * np.log10(1 - figure) == pytest.approx(sqnr(expected, given, task))
    assert len(each) == 6
    assert np.mean(each) == pytest.approx(figure)
    exact, _ = exactness(lambda inputs: [expected[inputs, None]], list(enumerate(expected)))
    assert exact == 1


def test_when_the_time_is_over_every_network_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.eye(4)
    exactness = Exactness(expected, "classification", seconds=60)

    def judge(now: float, clips: int = 4) -> float:
        monkeypatch.setattr("time.monotonic", lambda: now)
        return exactness(lambda inputs: [np.zeros((1, 4))], list(enumerate(expected))[:clips])[0]

    assert [judge(now) for now in (5000, 5060, 5061)] == [0, 0, 1]
    assert judge(5061, clips=1) == 0  # or ranks would mean nothing


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a stand-in of NNCF was asked for; its network's logits are 4 of its input."""
    found: dict[str, Any] = {}

    def quantize(model: object, dataset: list[Any], **settings: Any) -> str:
        found.update(settings, dataset=dataset)
        return "smoothed" if "ignored_scope" in settings else "quantized"

    def with_control(
        model: object, dataset: list[Any], judged: list[Any], judge: Callable[..., Any],
        **settings: Any,
    ) -> str:  # fmt: skip
        assert model == "smoothed"
        found.update(settings, dataset=dataset, judged=judged, judge=judge)
        return "quantized"

    class Core:
        def read_model(self, path: str) -> str:
            return path

        def compile_model(self, model: str, device: str, config: object) -> Callable[..., Any]:
            return lambda inputs: [inputs["input_values"][:, :4]]

    nncf = SimpleNamespace(
        quantize=quantize,
        quantize_with_accuracy_control=with_control,
        Dataset=list,
        IgnoredScope=SimpleNamespace,
        AdvancedQuantizationParameters=SimpleNamespace,
        AdvancedSmoothQuantParameters=SimpleNamespace,
        DropType=SimpleNamespace(ABSOLUTE="absolute"),
        ModelType=SimpleNamespace(TRANSFORMER="transformer"),
        AdvancedAccuracyRestorerParameters=SimpleNamespace,
    )
    openvino = SimpleNamespace(
        Core=Core, save_model=lambda model, path: found.update(saved=(model, path))
    )
    monkeypatch.setitem(sys.modules, "nncf", nncf)
    monkeypatch.setitem(sys.modules, "openvino", openvino)
    return found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize("kind", ["nncf", "nncf_accurate"])
def test_what_nncf_is_asked_for(
    kind: str, count: int, normalize: bool, tmp_path: Path, asked: dict[str, Any]
) -> None:
    clips = [speech_like(0.1 + seed / 100, 16000, seed) for seed in range(count)]
    write_clips(tmp_path / "clips.npz", clips)
    conversion = Conversion(
        source="stock", target=str(tmp_path), audio=str(tmp_path / "clips.npz"),
        normalize=normalize, task="classification", threads=1,
    )  # fmt: skip
    CONVERTERS[kind](conversion)
    assert asked["saved"] == ("quantized", str(tmp_path / "model.xml"))
    assert asked["subset_size"] == len(asked["dataset"]) == count
    assert asked["model_type"] == "transformer"
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    for clip, inputs in zip(clips, asked["dataset"], strict=True):
        expected = extractor(clip, sampling_rate=16000, return_tensors="np").input_values
        np.testing.assert_allclose(inputs["input_values"], expected, atol=1e-5)
    if kind == "nncf":
        return
    assert asked["max_drop"] == MAX_DROP == pytest.approx(10 ** (-30 / 10))
    assert len(asked["judged"]) == min(count, JUDGED_CLIPS)
    assert asked["judge"](lambda inputs: [inputs["input_values"][:, :4]], asked["judged"])[0] == 1
