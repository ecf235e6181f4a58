"""The reference against transformers called by hand, and against bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from layouts import DENSE
from near import near
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
from variations import first_of

import voxmood
from voxmood_bench.engines.original import original
from voxmood_bench.engines.reference import Reference
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import speech_like
from voxmood_export.testing import BASE, LARGE, SMALL, Settings, make_checkpoint

pytestmark = pytest.mark.linux  # as `bench run` itself


def test_the_own_class_answers_as_on_the_model_card(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, speech_like(1.5, 22050, 3), 22050)
    waveform, _ = librosa.load(path, sr=16000, mono=True)
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    network = AutoModelForAudioClassification.from_pretrained(checkpoint)
    inputs = extractor(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = network(inputs.input_values).logits[0]
    np.testing.assert_array_equal(Reference(str(checkpoint)).logits_of(path), expected.numpy())


@pytest.mark.parametrize(
    "layout",
    first_of(dict.fromkeys(["superb", "audeering", "emotion2vec", "multilabel", *DENSE]), 3),
)
def test_every_reference_gives_what_the_bundle_does(
    layout: str, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = exported(layout)
    path = tmp_path / "clip.wav"
    soundfile.write(path, speech_like(1.5, 22050, 3), 22050)
    how = original(load_checkpoint(str(folder / "checkpoint")))
    assert how.has_class is (layout in ("superb", "multilabel"))
    found = Reference(str(folder / "checkpoint"), own_class=how.own_class).logits_of(path)
    assert voxmood.load(folder / "bundle", precision="fp32").predict(path).logits == near(found)


@pytest.mark.parametrize(
    ("settings", "version", "own_class", "says"),
    [
        (LARGE, "4.57.6", True, "the own class of transformers 4.57.6"),
        (LARGE, "5.24.0", False, "computes what transformers 4.57 does"),
        (LARGE | {"use_weighted_layer_sum": False}, "5.24.0", True, "own class of transformers 5"),
        (BASE, "5.24.0", True, "the own class of transformers 5.24.0"),
    ],
)
def test_the_function_is_that_of_transformers_4(
    settings: Settings, version: str, own_class: bool, says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make_checkpoint(tmp_path, settings | SMALL)
    checkpoint = load_checkpoint(str(tmp_path))
    monkeypatch.setattr("voxmood_bench.engines.original.version", lambda package: version)
    how = original(checkpoint)
    assert (how.has_class, how.own_class) == (True, own_class)
    assert says in how.how


def test_float16_is_close_to_float32(checkpoint: Path, tmp_path: Path) -> None:
    """On the CPU: what differs on a GPU is the device alone."""
    waveform = speech_like(1.5, 16000, 3)
    exact = Reference(str(checkpoint)).logits(waveform)
    rounded = Reference(str(checkpoint), dtype="float16", device="cpu").logits(waveform)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()
