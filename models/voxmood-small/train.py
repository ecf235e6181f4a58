#!/usr/bin/env python3
"""Make voxmood-small: a speech emotion model of 5.4 million parameters, from raw audio.

    python train.py --prepare                        # decode all recordings
    python train.py --start encoder_model.ort        # the network, from its teacher's weights
    python train.py --classify                       # its classifier, and all scores

Nothing is trained step by step: every part is copied, or is the solution of a least-squares problem
or of a linear discriminant. So there is nothing to tune by a score, and it takes minutes.
The network sees no emotion label, nor EmoDB or CREMA-D, before --classify.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from audio import normalize
from corpora import Cache, prepare, read_cache
from evaluate import EXTRACTOR, evaluate, listen
from network import LAYERS, Student, fit_layers, start_from
from safetensors.torch import load_file, save_file
from teacher import LEVEL, Encoder
from torch import Tensor
from tqdm import tqdm

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Kind:
    """Crops of one corpus, all of one length."""

    corpus: str
    samples: int  # of a crop
    crops: int


SPEECH = Kind("unlabelled", 40_000, 1400)
BURSTS = Kind("emogator", 24_000, 900)


def cut(cache: Cache, kind: Kind) -> Tensor:
    """Return random crops [crops, samples], of zero mean and unit variance."""
    rng = np.random.default_rng(1)
    long = [c for c in cache.clips if c.corpus == kind.corpus and c.count >= kind.samples]
    waves = []
    for clip in (long[i] for i in rng.permutation(len(long))[: kind.crops]):
        first = clip.first + int(rng.integers(clip.count - kind.samples + 1))
        waves.append(cache.samples[first : first + kind.samples])
    x = torch.stack(waves).float() / 32768
    return normalize(x, torch.ones_like(x, dtype=torch.bool))


def start(encoder: Path, cache: Cache, runs: Path) -> None:
    """Write the network, without its classifier, to runs/network.safetensors."""
    teacher = Encoder(encoder)
    speech, bursts = cut(cache, SPEECH), cut(cache, BURSTS)
    torch.manual_seed(1)
    student = Student()
    start_from(teacher, student, speech[:64])
    parts = [*torch.split(speech, 40), *torch.split(bursts, 40)]
    with torch.inference_mode():
        taught = [
            torch.stack([state.half() for state in teacher(part * LEVEL, LAYERS)[::2]], 1)
            for part in tqdm(parts, "the teacher listens", mininterval=10)
        ]
    fit_layers(teacher, student, taught)
    runs.mkdir(parents=True, exist_ok=True)
    save_file(student.state_dict(), runs / "network.safetensors")


def classify(cache: Cache, runs: Path) -> None:
    """Write evaluation.json and the model that ships, from runs/network.safetensors."""
    student = Student()
    student.load_state_dict(load_file(runs / "network.safetensors"))
    report, head = evaluate(listen(student, cache, runs))
    (HERE / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    student.answer_with(torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    student.model.save_pretrained(HERE)
    EXTRACTOR.save_pretrained(HERE)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--prepare", action="store_true", help="Decode all recordings.")
    what.add_argument("--start", type=Path, metavar="ENCODER", help="Make the network.")
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
    if args.start:
        start(args.start, cache, args.runs)
    else:
        classify(cache, args.runs)


if __name__ == "__main__":
    main()
