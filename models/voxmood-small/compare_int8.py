#!/usr/bin/env python3
"""Add to evaluation.json whether int8 decides as float does, for speakers that were not heard.

    python compare_int8.py          # after train.py --classify, and the export of bundle

The network is the same for all folds. So each precision of the bundle hears all recordings once,
and the classifiers of the folds answer for the embeddings.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpora import Cache, read_cache
from evaluate import COPIES, FOLDS, Heard, fold_of, learn
from head import Floats
from tqdm import tqdm

import voxmood
from voxmood.comparison.metrics import agreement, sqnr

HERE = Path(__file__).resolve().parent


def embeddings(precision: str, cache: Cache, heard: Heard) -> Floats:
    """Return what a precision of the bundle makes of all recordings [clips, WIDTH]."""
    model = voxmood.load(HERE / "bundle", precision=precision)
    rows = []
    for clip in tqdm(heard.clips, precision, mininterval=10):
        samples = cache.samples[clip.first : clip.first + clip.count].numpy()
        prediction = model.predict(samples.astype(np.float32) / 32768, sampling_rate=16_000)
        rows.append(prediction.embedding)
    return np.stack(rows).astype(np.float64)


def compare(heard: Heard, cache: Cache) -> dict[str, Any]:
    """Return how near the two precisions are, by the classifiers of the folds."""
    folds = fold_of(heard.clips)
    heads = [learn(heard, folds != fold) for fold in range(FOLDS)]
    float32, int8 = (
        np.stack([heads[fold](row) for fold, row in zip(folds, rows, strict=True)])
        for rows in (embeddings(precision, cache, heard) for precision in ("fp32", "int8"))
    )
    return {
        "clips": len(folds),
        "same_label": round(agreement(float32, int8), 5),
        "sqnr_db": round(sqnr(float32, int8), 2),
        "max_logit_error": round(float(np.abs(float32 - int8).max()), 5),
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    args = parser.parse_args()
    cache = read_cache(args.cache, torch.device("cpu"))
    clips = [clip for clip in cache.clips if clip.corpus in ("emodb", "cremad")]
    names = ["recorded", "others", *(f"varied-{number}" for number in range(COPIES))]
    recorded, others, *copies = (np.load(args.runs / f"{name}.npy") for name in names)
    heard = Heard(clips, {"recorded": recorded}, copies, others)
    path = HERE / "evaluation.json"
    report = json.loads(path.read_text()) | {"int8": compare(heard, cache)}
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["int8"]))


if __name__ == "__main__":
    main()
