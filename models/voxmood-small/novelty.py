#!/usr/bin/env python3
"""Add to evaluation.json how much of other sounds the bundle calls unlike its calibration.

python novelty.py               # after the export and the calibration of bundle
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from audio import RATE
from evaluate import Samples
from tqdm import tqdm

import voxmood
from voxmood import Model

HERE = Path(__file__).resolve().parent
RECORDINGS = 100  # of each kind
SECONDS = 3  # of a sound that is made


def recordings(corpora: Path) -> dict[str, list[Path]]:
    """Return recordings of every corpus, drawn at random, by its name."""
    found: dict[str, list[Path]] = {}
    for folder in ("emogator", "unlabelled"):
        with (corpora / folder / "manifest.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                paths = found.setdefault(row.get("corpus", folder), [])
                paths.append(corpora / folder / row["path"])
    rng = np.random.default_rng(0)
    return {
        name: [paths[index] for index in rng.permutation(len(paths))[:RECORDINGS]]
        for name, paths in found.items()
    }


def noises() -> Iterator[tuple[str, Samples]]:
    """Yield sounds without any voice, each with its name."""
    rng = np.random.default_rng(0)
    count = SECONDS * RATE
    time = np.arange(count) / RATE
    hertz = np.fft.rfftfreq(count, 1 / RATE).clip(20)
    for _ in range(RECORDINGS):
        white = rng.standard_normal(count)
        sounds = {
            "white noise": white,
            "pink noise": np.fft.irfft(np.fft.rfft(white) / np.sqrt(hertz), count),
            "tone": np.sin(2 * np.pi * rng.uniform(100, 4000) * time),
            "mains hum": sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 9)),
        }
        for name, sound in sounds.items():
            yield name, (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def shares(model: Model, corpora: Path) -> dict[str, float]:
    """Return the share of each kind of sound whose novelty is above 1."""
    beyond: dict[str, list[bool]] = {}
    for name, paths in recordings(corpora).items():
        for answer in tqdm(model.predict_batch(paths), name, len(paths), mininterval=10):
            assert answer.novelty is not None
            beyond.setdefault(name, []).append(answer.novelty > 1)
    for name, samples in noises():
        answer = model.predict(samples, sampling_rate=RATE)
        assert answer.novelty is not None
        beyond.setdefault(name, []).append(answer.novelty > 1)
    return {name: round(float(np.mean(found)), 3) for name, found in beyond.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    args = parser.parse_args()
    path = HERE / "evaluation.json"
    found = shares(voxmood.load(HERE / "bundle"), args.corpora)
    report = json.loads(path.read_text()) | {"novelty": found}
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
