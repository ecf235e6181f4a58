"""Scores of the folds, and what the shipped weights answer beyond the corpus they learned from."""

from __future__ import annotations

import csv
import datetime
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from audio import LABELS, RATE, Clip, Samples, read_corpus
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

FOLDS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))  # (man, woman)
SEARCH_FOLD = 0  # the settings were chosen on it
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


@torch.inference_mode()
def logits_of(model: Any, waves: list[Samples]) -> Floats:
    """Logits [clips, labels] of whole recordings, one by one, as a user of the model gets them."""
    model.eval()
    rows = []
    for wave in tqdm(waves, desc="answering", leave=False, mininterval=5):
        inputs = EXTRACTOR(wave, sampling_rate=RATE, return_tensors="pt").to(model.device)
        rows.append(model(**inputs).logits[0].float().cpu().numpy())
    return np.stack(rows)


def write_logits(path: Path, clips: list[Clip], logits: Floats) -> None:
    """Write what a model that never heard these speakers answers for them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "label", *LABELS])
        for clip, row in zip(clips, logits, strict=True):
            writer.writerow([clip.path, clip.speaker, LABELS[clip.label], *map(str, row)])


def truth_and_guess(rows: list[dict[str, str]]) -> tuple[Indices, Indices]:
    """Class indices that the rows of such a file name and answer."""
    truth = [LABELS.index(row["label"]) for row in rows]
    logits = [[float(row[label]) for label in LABELS] for row in rows]
    return np.array(truth), np.argmax(logits, axis=1)


def score(truth: Indices, guess: Indices) -> dict[str, Any]:
    """Accuracy, unweighted average recall (UAR) and confusion matrix; a row is a true label."""
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, (truth, guess), 1)
    hits = confusion.diagonal()
    return {
        "clips": len(truth),
        "accuracy": round(float(hits.sum() / len(truth)), 4),
        "uar": round(float(np.mean(hits / confusion.sum(axis=1))), 4),
        "confusion": confusion.tolist(),
    }


def intervals(truth: Indices, guess: Indices, groups: NDArray[Any]) -> dict[str, list[float]]:
    """95 % bootstrap intervals, from 2,000 times as many groups drawn with replacement.

    With speakers as groups they say how far the figure depends on who was recorded; with every
    clip a group of its own, how far it depends on which clips were.
    """
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    drawn: dict[str, list[float]] = {"accuracy": [], "uar": []}
    for _ in range(2000):
        picked = rng.integers(len(members), size=len(members))
        chosen = np.concatenate([members[index] for index in picked])
        found = score(truth[chosen], guess[chosen])
        for name, values in drawn.items():
            values.append(found[name])
    limits = {name: np.quantile(values, [0.025, 0.975]) for name, values in drawn.items()}
    return {name: [round(float(limit), 3) for limit in pair] for name, pair in limits.items()}


def signals(seconds: float = 3.0) -> dict[str, Samples]:
    """What is not speech, and will be given to the model all the same; RMS 0.1."""
    rng = np.random.default_rng(0)
    count = round(seconds * RATE)
    white = rng.standard_normal(count)
    falling = np.arange(1, count // 2 + 2) ** -0.5  # 3 dB an octave
    pink = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * falling)
    tone = np.sin(2 * np.pi * 440 * np.arange(count) / RATE)
    loud = {"white noise": white, "pink noise": pink, "440 Hz tone": tone}
    scaled = {name: (0.1 * wave / wave.std()).astype(np.float32) for name, wave in loud.items()}
    return {"digital silence": np.zeros(count, np.float32), **scaled}


def telephone(wave: Samples) -> Samples:
    """Keep 300 to 3,400 Hz."""
    hertz = np.fft.rfftfreq(len(wave), 1 / RATE)
    spectrum = np.fft.rfft(wave) * ((hertz > 300) & (hertz < 3400))
    kept: Samples = np.fft.irfft(spectrum, len(wave)).astype(np.float32)
    return kept


def noisy(wave: Samples) -> Samples:
    """Add white noise 10 dB below the recording."""
    noise = np.random.default_rng(0).standard_normal(len(wave))
    heard: Samples = (wave + noise * wave.std() * 10 ** (-10 / 20)).astype(np.float32)
    return heard


def reverberant(wave: Samples) -> Samples:
    """Add the echo of a room, as loud as the speech, which falls by 60 dB in half a second."""
    seconds = np.arange(RATE // 2) / RATE
    echo = np.random.default_rng(0).standard_normal(len(seconds)) * 10 ** (-3 * seconds / 0.5)
    size = len(wave) + len(echo)
    spectrum = np.fft.rfft(wave, size) * np.fft.rfft(echo / np.linalg.norm(echo), size)
    return (wave + np.fft.irfft(spectrum, size)[: len(wave)]).astype(np.float32)


def distorted(runs: Path, corpora: Path) -> dict[str, Any]:
    """Scores of the folds' models when their test speakers come through a worse channel."""
    clips = read_corpus(corpora / "emodb")
    tests = [[clip for clip in clips if clip.speaker in pair] for pair in FOLDS]
    truth = np.array([clip.label for test in tests for clip in test])
    report = {}
    for distort in (telephone, noisy, reverberant):
        guess = []
        for fold, test in enumerate(tests):
            model = Wav2Vec2ForSequenceClassification.from_pretrained(runs / f"fold-{fold}")
            guess.append(logits_of(model, [distort(clip.samples) for clip in test]).argmax(axis=1))
        report[distort.__name__] = {
            "what": distort.__doc__,
            **score(truth, np.concatenate(guess)),
        }
    return report


def beyond(checkpoint: Path, corpora: Path) -> dict[str, Any]:
    """What the shipped weights say of signals that are not speech, and of EmoGator's bursts."""
    model = Wav2Vec2ForSequenceClassification.from_pretrained(checkpoint)
    found = signals()
    chances = torch.from_numpy(logits_of(model, list(found.values()))).softmax(-1).tolist()
    bursts = read_corpus(corpora / "emogator")
    guess = logits_of(model, [clip.samples for clip in bursts]).argmax(axis=1)
    return {
        "not_speech": {
            name: {label: round(chance, 3) for label, chance in zip(LABELS, row, strict=True)}
            for name, row in zip(found, chances, strict=True)
        },
        "emogator": {
            "note": "vocal bursts; training heard them, with labels, through another classifier",
            **score(np.array([clip.label for clip in bursts]), guess),
        },
    }


def evaluate(runs: Path) -> dict[str, Any]:
    """Pool the folds in runs, and list what the search tried."""
    rows: list[dict[str, Any]] = []
    folds = []
    for fold, pair in enumerate(FOLDS):
        with (runs / f"fold-{fold}" / "logits.csv").open(newline="") as file:
            new = list(csv.DictReader(file))
        rows += [{**row, "fold": fold} for row in new]
        folds.append({"fold": fold, "speakers": pair, **score(*truth_and_guess(new))})
    truth, guess = truth_and_guess(rows)
    speakers = np.array([row["speaker"] for row in rows])
    others = [row for row in rows if row["fold"] != SEARCH_FOLD]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "measured": "EmoDB, speakers not trained on, whole recordings one by one, float32, torch",
        "labels": LABELS,
        "pooled": {
            **score(truth, guess),
            "speakers": len(np.unique(speakers)),
            "interval_95_speakers_resampled": intervals(truth, guess, speakers),
            "interval_95_clips_resampled": intervals(truth, guess, np.arange(len(truth))),
        },
        "pooled_without_search_fold": score(*truth_and_guess(others)),
        "search_fold": SEARCH_FOLD,
        "folds": folds,
        "accuracy_by_speaker": {
            str(who): score(truth[speakers == who], guess[speakers == who])["accuracy"]
            for who in np.unique(speakers)
        },
        "recipe": {name: read_run(runs / name)["settings"] for name in ("pretrain", "fold-0")},
        "search": {path.name: read_run(path) for path in sorted(runs.glob("search-*"))},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
        },
    }


def read_run(folder: Path) -> dict[str, Any]:
    """What a run wrote about itself when it ended."""
    report: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return report
