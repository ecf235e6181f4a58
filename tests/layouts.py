"""Small random checkpoints of every kind, and what their bundles answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import voxmood
from voxmood.audio import Waveform
from voxmood_export.testing import LARGE, LAYOUTS, SMALL, make_checkpoint
from voxmood_export.testing_emotion2vec import SMALL as SMALL_EMOTION2VEC
from voxmood_export.testing_emotion2vec import make_emotion2vec

DENSE = ["audeering", "EmotionModel", "ehcalabres", "soxan-hubert-max"]
"""Layouts with heads that transformers does not have."""

OTHER = "license: other\nlicense_name: model-license\nlicense_link: https://example.com/MODEL"


def make(layout: str, folder: Path) -> Path:
    """Write a small random checkpoint of a layout, or of emotion2vec."""
    if layout == "emotion2vec":
        make_emotion2vec(folder, SMALL_EMOTION2VEC)
    else:
        architecture = layout if layout in LAYOUTS else "Wav2Vec2ForSequenceClassification"
        make_checkpoint(folder, LARGE | SMALL, architecture=architecture)
    card = OTHER if layout == "emotion2vec" else "license: apache-2.0"
    (folder / "README.md").write_text(f"---\n{card}\n---\nA test.\n")
    if layout == "multilabel":
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}
        path.write_text(json.dumps(config))
    return folder


def logits_of(bundle: Path, precision: str, waveforms: list[Waveform]) -> np.ndarray:
    """Return the logits [clips, labels] of a bundle for waveforms at 16 kHz, one by one."""
    model = voxmood.load(bundle, precision=precision)
    return np.stack([model.predict(each, sampling_rate=16000).logits for each in waveforms])
