"""The full-size network: `pytest -m full_size`, about ten minutes and 8 GB.

The real checkpoint of superb/wav2vec2-large-superb-er has this architecture; the weights are
random, with a classifier scaled so that its logits have mean 0 and spread 1 on recordings.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

import voxmood
from voxmood.audio import read_waveform
from voxmood_bench.random_checkpoint import LARGE, make_checkpoint
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.export import export_bundle

pytestmark = pytest.mark.full_size


@pytest.fixture(scope="module")
def large(emodb: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    waveforms = [read_waveform(path, rate=16000, max_seconds=30) for path in emodb[::2]]
    make_checkpoint(folder / "checkpoint", LARGE, waveforms=waveforms)
    export_bundle(str(folder / "checkpoint"), folder / "bundle")
    return folder


def test_fp32_is_what_transformers_computes(large: Path, emodb: list[Path]) -> None:
    loaded = load_checkpoint(str(large / "checkpoint"))
    model = voxmood.load(large / "bundle", precision="fp32")
    worst = 0.0
    for path in emodb:
        waveform, _ = librosa.load(path, sr=16000, mono=True)
        inputs = loaded.extractor(waveform, sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            expected = loaded.model(inputs.input_values).logits[0].numpy()
        worst = max(worst, float(np.abs(model.predict(path).logits - expected).max()))
    print(f"largest logit error over {len(emodb)} recordings: {worst:.2e}")
    assert worst <= 1e-4


def test_fp32_batch_equals_single_runs(large: Path, emodb: list[Path]) -> None:
    model = voxmood.load(large / "bundle", precision="fp32")
    paths = emodb[::3]
    for path, together in zip(paths, model.predict_batch(paths), strict=True):
        assert together.logits == pytest.approx(model.predict(path).logits, abs=1e-5)


def test_int8_gives_the_same_bits_twice(large: Path, emodb: list[Path]) -> None:
    first = voxmood.load(large / "bundle", precision="int8")
    second = voxmood.load(large / "bundle", precision="int8")
    for path in emodb[::5]:
        assert first.predict(path).logits.tobytes() == second.predict(path).logits.tobytes()
