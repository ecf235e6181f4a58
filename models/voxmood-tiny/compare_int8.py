#!/usr/bin/env python3
"""Does int8 decide as float does? Every fold's model, on the speakers that it has not heard.

    python compare_int8.py               # after train.py --fold 0 ... 4; adds to evaluation.json
    python compare_int8.py --folds 0 1   # of these alone

Each fold's checkpoint is exported as a user would, without its test recordings, and both precisions
label the recordings of its two test speakers.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import recall_score
from tqdm import tqdm

import voxmood
from voxmood.comparison.metrics import agreement, sqnr
from voxmood_export import export_bundle

HERE = Path(__file__).resolve().parent
FOLDS = 5


def fold_logits(run: Path, corpus: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """True classes and, by precision, logits [clips, labels] of a fold's test recordings."""
    with (run / "logits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logits = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(str(run), bundle)
        for precision in ("fp32", "int8"):
            model = voxmood.load(bundle, precision=precision)
            predictions = [model.predict(corpus / row["path"]) for row in rows]
            logits[precision] = np.stack([prediction.logits for prediction in predictions])
    return np.array([model.labels.index(row["label"]) for row in rows]), logits


def compare(runs: Path, corpus: Path, folds: list[int]) -> dict[str, Any]:
    """Agreement of the two precisions, pooled over folds."""
    found = [fold_logits(runs / f"fold-{fold}", corpus) for fold in tqdm(folds)]
    truth = np.concatenate([classes for classes, _ in found])
    float32, int8 = (
        np.concatenate([logits[precision] for _, logits in found]) for precision in ("fp32", "int8")
    )
    return {
        "folds": folds,
        "clips": len(truth),
        "same_label": round(agreement(float32, int8), 4),
        "uar_fp32": round(float(recall_score(truth, float32.argmax(1), average="macro")), 4),
        "uar_int8": round(float(recall_score(truth, int8.argmax(1), average="macro")), 4),
        "sqnr_db": round(sqnr(float32, int8), 2),
        "max_logit_error": round(float(np.abs(float32 - int8).max()), 4),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    options = parser.parse_args()
    result = compare(options.runs, options.corpora / "emodb", options.folds)
    path = HERE / "evaluation.json"
    report = json.loads(path.read_text()) | {"int8": result}
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
