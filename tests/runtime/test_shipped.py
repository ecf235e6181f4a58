"""The bundle that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from near import near

import voxmood
from voxmood.bundle.description import read_bundle
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main

ROOT = Path(__file__).parents[2]
RATE = 16000


def test_predicts_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(ROOT / "runtime" / "examples" / "hello.wav")]) == 0
    assert "hello.wav: " in capsys.readouterr().out


def test_is_small_and_free_to_ship() -> None:
    bundle = shipped_bundle()
    assert (bundle / "model.int8.onnx").stat().st_size < 7_000_000
    files = [
        path for path in bundle.parent.rglob("*") if path.is_file() and "runs" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 48_000_000
    assert voxmood.load().bundle.license == "apache-2.0"


def test_the_wheel_holds_int8_as_it_is_in_the_checkout() -> None:
    folder = ROOT / "models" / "voxmood-small"
    whole, wheel = (
        json.loads((folder / name).read_text()) for name in ("bundle/bundle.json", "wheel.json")
    )
    assert whole.pop("precisions")["int8"] == wheel.pop("precisions")["int8"]
    assert whole == wheel


def signals() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    time = np.arange(3 * RATE) / RATE
    return {
        "silence": np.zeros(3 * RATE),
        "almost silence": 1e-7 * random.standard_normal(3 * RATE),
        "direct current": np.full(3 * RATE, 0.5),
        "noise": random.uniform(-1, 1, 3 * RATE),
        "tone": np.sin(2 * np.pi * 440 * time),
        "clipped": np.sign(np.sin(2 * np.pi * 100 * time)),
        "click": np.eye(1, 3 * RATE, RATE)[0],
        "shortest": random.uniform(-1, 1, read_bundle(shipped_bundle()).min_samples),
    }


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", signals())
def test_whatever_it_hears_it_answers(precision: str, name: str) -> None:
    model = voxmood.load(precision=precision)
    prediction = model.predict(signals()[name], sampling_rate=RATE)
    assert sum(prediction.numbers.values()) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(prediction.logits).all()


def test_level_does_not_matter() -> None:
    model = voxmood.load(precision="fp32")
    noise = np.random.default_rng(1).normal(0, 0.2, 2 * RATE)
    loud, quiet = (model.predict(noise * gain, sampling_rate=RATE) for gain in (1.0, 0.05))
    # Normalizing adds 1e-7 to the variance, which is 1e-4 here.
    assert quiet.logits == near(loud.logits, 2e-3)


def test_int8_decides_as_fp32(emodb: list[Path]) -> None:
    models = [voxmood.load(precision=precision) for precision in ("fp32", "int8")]
    labels = [[prediction.label for prediction in model.predict_batch(emodb)] for model in models]
    assert labels[0] == labels[1]
