"""Folds, answers to whole recordings, and scores."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio import normalize
from corpora import LABELS, Cache, Clip
from network import Trainee
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

FOLDS = 5
PAIRS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))  # EmoDB: man, woman
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def fold_of(clips: list[Clip]) -> list[int]:
    """Return the number of the fold in which each clip is a test, -1 where it never is."""
    pairs = {f"emodb-{who}": fold for fold, pair in enumerate(PAIRS) for who in pair}
    actors = sorted({clip.speaker for clip in clips if clip.corpus == "cremad"})
    order = np.random.default_rng(0).permutation(len(actors))
    drawn = {actors[place]: rank % FOLDS for rank, place in enumerate(order)}
    return [(pairs | drawn).get(clip.speaker, -1) for clip in clips]


@torch.inference_mode()
def logits_of(trainee: Trainee, cache: Cache, clips: list[Clip]) -> Floats:
    """Return logits [clips, labels] of whole recordings, as a user of the model gets them.

    Recordings of about the same length are answered together, which changes nothing: the network
    does not see what is beyond the end of each.
    """
    trainee.eval()
    device = cache.samples.device
    logits = np.empty((len(clips), len(LABELS)), np.float32)
    order = sorted(range(len(clips)), key=lambda index: clips[index].count)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        counts = torch.tensor([clips[index].count for index in chosen], device=device)
        waves = torch.nn.utils.rnn.pad_sequence(
            [
                cache.samples[clip.first : clip.first + clip.count].float() / 32768
                for clip in (clips[index] for index in chosen)
            ],
            batch_first=True,
        )
        heard = torch.arange(waves.shape[1], device=device) < counts[:, None]
        logits[chosen] = trainee(normalize(waves, heard), counts, 0.0)[0].float().cpu().numpy()
    return logits


def write_logits(path: Path, clips: list[Clip], logits: Floats) -> None:
    """Write what a model that never heard these speakers answers for them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "label", "group", *LABELS])
        for clip, row in zip(clips, logits, strict=True):
            values = [f"{value:.5f}" for value in row]
            writer.writerow([clip.path, clip.speaker, LABELS[clip.label], clip.group, *values])


def score(truth: Indices, guess: Indices) -> dict[str, Any]:
    """Return accuracy, unweighted average recall (UAR) and confusion; a row is a true label."""
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, (truth, guess), 1)
    hits = confusion.diagonal()
    recalls = hits / confusion.sum(axis=1).clip(1)
    return {
        "clips": len(truth),
        "accuracy": round(float(hits.sum() / len(truth)), 4),
        "uar": round(float(recalls.mean()), 4),
        "recalls": [round(float(recall), 3) for recall in recalls],
        "confusion": confusion.tolist(),
    }
