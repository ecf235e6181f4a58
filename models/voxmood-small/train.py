#!/usr/bin/env python3
"""Make voxmood-small: a speech emotion model of 5.5 million parameters, from raw audio.

    python train.py --prepare                        # decode all recordings
    python train.py --distil encoder_model.ort       # the network, from its teacher
    python train.py --classify                       # its classifier, and all scores

The network starts from its teacher's weights, is fitted to its teacher's states by least squares
and then learns to make them: twenty minutes on one CPU core. It sees no emotion label, nor EmoDB or
CREMA-D, before --classify, which fits a linear discriminant to the means of its last states.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from corpora import Cache, prepare, read_cache
from distil import SPEECH, Settings, crops, distil
from evaluate import EXTRACTOR, evaluate, listen
from network import Student
from rounding import round_weights

HERE = Path(__file__).resolve().parent
HEARD = 1000  # crops of unlabeled speech that the classifier looks away from


def classify(cache: Cache, runs: Path) -> None:
    """Write evaluation.json and the model that ships, from runs/network.pt."""
    student = Student()
    state = torch.load(runs / "network.pt", weights_only=True)
    student.load_state_dict(state["average"])
    round_weights(student, student.model.wav2vec2.encoder.layers, next(crops(cache, SPEECH, 1)))
    speech = np.load(runs / f"{SPEECH.corpus}.npy", mmap_mode="c")[:HEARD, 0]
    report, head = evaluate(listen(student, cache, torch.from_numpy(speech), runs), runs)
    (HERE / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    student.answer_with(torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    # In float16, the transformer's weights still round to the same integers of int8. The front end
    # has inputs far off zero, so that it needs them exact. The configuration says float32.
    state = {
        name: value.half() if ".encoder." in name else value
        for name, value in student.model.state_dict().items()
    }
    student.model.save_pretrained(HERE, state_dict=state)
    EXTRACTOR.save_pretrained(HERE)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prepare", action="store_true", help="Decode all recordings.")
    what.add_argument("--distil", type=Path, metavar="ENCODER", help="Make the network.")
    what.add_argument("--classify", action="store_true", help="Evaluate, and write the model.")
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--workers", type=int, default=2, help="Processes that decode.")
    args = parser.parse_args()
    if args.prepare:
        prepare(args.corpora, args.cache, args.workers)
        return
    cache = read_cache(args.cache, torch.device("cpu"))
    if args.distil:
        distil(args.distil, cache, args.runs, Settings())
    else:
        classify(cache, args.runs)


if __name__ == "__main__":
    main()
