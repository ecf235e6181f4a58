#!/usr/bin/env python3
"""Write baseline.json: how well the model that shipped before hears a corpus that was left out.

    git worktree add /tmp/before 1250f89
    python baseline.py /tmp/before/models/voxmood-tiny

That is the last commit with that model. Its network of one million parameters is trained by its
own recipe, with its own settings, once on EmoDB and once on CREMA-D, and answers the other corpus.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
BEFORE = "1250f89"


def left_out(train: Any, corpus: str, learned: str, corpora: Path, runs: Path) -> dict[str, Any]:
    """Return the scores on one corpus of a model that learned from the other."""
    folder = runs / f"without-{corpus}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = train.Settings()
    torch.manual_seed(settings.seed)
    trainee = train.Trainee(settings.dropout)
    trainee.load_state_dict(train.load_file(runs / "pretrain" / "model.safetensors"))
    speech, bursts = (train.read_corpus(corpora / name) for name in (learned, "emogator"))
    average = train.train(trainee, speech, bursts, settings, folder, lambda step, trainee: None)
    clips = train.read_corpus(corpora / corpus)
    logits = train.logits_of(average.model, [clip.samples for clip in clips])
    scores: dict[str, Any] = train.score(np.array([clip.label for clip in clips]), logits.argmax(1))
    return scores


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", type=Path, help="Its folder, with train.py.")
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "baseline")
    args = parser.parse_args()
    sys.path.insert(0, str(args.recipe))
    train = importlib.import_module("train")
    train.keep_freed_memory()
    if not (args.runs / "pretrain" / "run.json").exists():
        train.run("pretrain", train.Settings(**train.PRETRAIN), args.corpora, args.runs)
    scores = {
        corpus: left_out(train, corpus, learned, args.corpora, args.runs)
        for corpus, learned in (("emodb", "cremad"), ("cremad", "emodb"))
    }
    report = {"recipe": f"models/voxmood-tiny at {BEFORE}", "left_out": scores}
    (HERE / "baseline.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
