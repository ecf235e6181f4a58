"""The reference against transformers called by hand."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from near import LAYER, near
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import voxmood
from voxmood_bench.engines.reference import Reference
from voxmood_export.clips import speech_like

pytestmark = pytest.mark.linux  # as `bench run` itself


def test_predicts_as_the_model_card_does_and_as_our_model_is_asked(
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

    prediction = Reference(str(checkpoint)).predict(path)
    np.testing.assert_array_equal(prediction.logits, expected.numpy())
    assert list(prediction.numbers) == [network.config.id2label[index] for index in range(4)]
    assert list(prediction.numbers.values()) == pytest.approx(expected.softmax(-1).tolist())
    assert prediction.label == network.config.id2label[int(expected.argmax())]

    ours = voxmood.load(bundle, precision="fp32").predict(path)
    assert prediction.logits == near(ours.logits)
    assert prediction.embedding == near(ours.embedding, LAYER)
    assert prediction.duration == ours.duration


def test_float16_is_close_to_float32(checkpoint: Path, tmp_path: Path) -> None:
    """On the CPU: what differs on a GPU is the device alone."""
    waveform = speech_like(1.5, 16000, 3)
    exact = Reference(str(checkpoint)).logits(waveform)
    rounded = Reference(str(checkpoint), dtype="float16", device="cpu").logits(waveform)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()
