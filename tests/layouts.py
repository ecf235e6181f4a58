"""Small random checkpoints of every kind that benchmarks take as a reference."""

from __future__ import annotations

import json
from pathlib import Path

from voxmood_export.testing import LARGE, SMALL, make_checkpoint
from voxmood_export.testing_emotion2vec import SMALL as SMALL_EMOTION2VEC
from voxmood_export.testing_emotion2vec import make_emotion2vec

DENSE = ["audeering", "EmotionModel", "ehcalabres", "soxan-hubert-max"]
"""Layouts with heads that transformers does not have."""


def make(layout: str, folder: Path) -> Path:
    """Write a small random checkpoint of a layout, or of emotion2vec."""
    if layout == "emotion2vec":
        make_emotion2vec(folder, SMALL_EMOTION2VEC)
    elif layout in DENSE:
        make_checkpoint(folder, LARGE | SMALL, architecture=layout)
    else:
        make_checkpoint(folder, LARGE | SMALL)
    if layout == "multilabel":
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}
        path.write_text(json.dumps(config))
    return folder
