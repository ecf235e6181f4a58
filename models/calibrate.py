"""Calibrate a bundle of this folder by what the models of its folds answer.

    python models/calibrate.py BUNDLE OUTPUT --corpora DIR --logits runs/fold-*/*.csv

The weights that ship have heard all speakers, so their own answers would look too good. The
temperature and the thresholds of the sets are fitted on what each fold's model answers for the
speakers that it has not heard. The domain is that of the embeddings of the weights that ship.

The wheel holds int8 alone, to stay small. Its description goes into wheel.json, beside the output.

A file of logits is called as its corpus, a folder of DIR, and has the columns path, speaker, label
and one for each label of the bundle.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import voxmood
from voxmood.bundle.calibration import Domain
from voxmood.bundle.description import read_bundle
from voxmood_export.calibration.domain import fit_domain
from voxmood_export.calibration.fit import fit_labels
from voxmood_export.calibration.write import write_calibrated

EMBEDDINGS = 1500  # recordings of each corpus for the domain, at most


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file of logits, with the corpus."""
    with path.open(newline="") as file:
        return [{**row, "corpus": path.stem} for row in csv.DictReader(file)]


def domain_of(model: voxmood.Model, rows: Sequence[dict[str, str]], corpora: Path) -> Domain | None:
    """Return the domain of a model's embeddings of recordings, evenly picked of each corpus."""
    picked: list[dict[str, str]] = []
    for corpus in sorted({row["corpus"] for row in rows}):
        own = [row for row in rows if row["corpus"] == corpus]
        picked += own[:: -(-len(own) // EMBEDDINGS)]
    answers = model.predict_batch(corpora / row["corpus"] / row["path"] for row in picked)
    embeddings = np.array([answer.embedding for answer in answers], np.float64)
    classes = np.array([model.labels.index(row["label"]) for row in picked])
    return fit_domain(embeddings, classes, np.array([row["speaker"] for row in picked]))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--logits", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    model = voxmood.load(options.bundle)
    rows = [row for path in options.logits for row in read(path)]
    truth = np.array([[row["label"] == label for label in model.labels] for row in rows])
    logits = np.array([[float(row[label]) for label in model.labels] for row in rows])
    speakers = np.array([row["speaker"] for row in rows])
    fit = fit_labels(truth, logits, speakers, several=False)
    for name, (before, after) in fit.measured.items():
        print(f"{name:<36} {before:.4f} {after:.4f}")
    print(f"temperature {fit.temperature:.4f}")
    corpora = " and ".join(sorted({row["corpus"] for row in rows}))
    domain = domain_of(model, rows, options.corpora)
    calibration = fit.calibration(corpora, len(rows), len(set(speakers)), domain)
    write_calibrated(options.bundle, options.output, calibration, force=True)
    whole = read_bundle(options.output)
    int8 = replace(whole, precisions={"int8": whole.precisions["int8"]})
    (options.output.parent / "wheel.json").write_text(int8.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
