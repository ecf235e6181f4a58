"""Scores on people and on corpora that the classifier has not heard, through several channels."""

from __future__ import annotations

import csv
import dataclasses
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from audio import RATE, channel, normalize
from corpora import LABELS, Cache, Clip
from head import Floats, Indices, discriminant, temperature, weights_of
from network import Student, frames_in
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import Wav2Vec2FeatureExtractor

Samples = NDArray[np.float32]

FOLDS = 5
COPIES = 5  # of each recording, for the classifier
PAIRS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))  # EmoDB: man, woman
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def through(samples: Samples, rate: int, **options: Any) -> Samples:
    """Return what is left of a recording after a codec."""
    file = io.BytesIO()
    sent = samples * (0.5 / (np.abs(samples).max() + 1e-6))
    soundfile.write(file, soxr.resample(sent, RATE, rate), rate, **options)
    file.seek(0)
    heard, heard_rate = soundfile.read(file, dtype="float32")
    result: Samples = soxr.resample(heard, heard_rate, RATE).astype(np.float32)
    return result


def recorded(samples: Samples) -> Samples:
    """Return a recording as it is."""
    return samples


def telephone(samples: Samples) -> Samples:
    """Return a recording as G.711 brings it: 8 kHz, 300 to 3,400 Hz, 8-bit mu-law."""
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    kept = np.fft.rfft(samples) * ((hertz > 300) & (hertz < 3400))
    narrow = np.fft.irfft(kept, len(samples)).astype(np.float32)
    return through(narrow, 8_000, format="WAV", subtype="ULAW")


def opus(samples: Samples) -> Samples:
    """Return a recording as Opus brings it at the lowest bit rate of libsndfile, about 6 kbit/s."""
    return through(samples, RATE, format="OGG", subtype="OPUS", compression_level=1.0)


def noisy(samples: Samples) -> Samples:
    """Return a recording with white noise 10 dB below it."""
    noise = np.random.default_rng(0).standard_normal(len(samples))
    heard: Samples = (samples + noise * samples.std() * 10 ** (-10 / 20)).astype(np.float32)
    return heard


def varied(samples: Samples) -> Samples:
    """Return a recording as another microphone, room and line might bring it."""
    heard: Samples = channel(torch.from_numpy(samples)[None], 1.0)[0].numpy()
    return heard


@torch.inference_mode()
def pooled(student: Student, waves: list[Samples], what: str) -> Floats:
    """Return the means of the network's last states [clips, WIDTH] over whole recordings.

    Recordings of about the same length are heard together, which changes nothing: the network does
    not see what is beyond the end of each.
    """
    student.eval()
    features: list[Any] = [None] * len(waves)
    order = sorted(range(len(waves)), key=lambda index: len(waves[index]))
    for start in tqdm(range(0, len(order), 16), what, mininterval=10):
        chosen = order[start : start + 16]
        counts = torch.tensor([len(waves[index]) for index in chosen])
        x = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(waves[index]) for index in chosen], batch_first=True
        )
        inside = torch.arange(x.shape[1]) < counts[:, None]
        hidden = student.features(normalize(x, inside))
        heard = torch.arange(hidden.shape[1]) < frames_in(counts, student.model.config)[:, None]
        last = student.states(hidden, heard)[-1] * heard[..., None]
        for index, total, count in zip(chosen, last.sum(1), heard.sum(1), strict=True):
            features[index] = (total / count).numpy()
    return np.stack(features).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Heard:
    """Hold what the network makes of the labeled speech."""

    clips: list[Clip]
    channels: dict[str, Floats]  # features [clips, WIDTH] of what came through each
    copies: list[Floats]  # likewise, of varied copies, which the classifier learns from as well
    speech: Floats  # likewise, of unlabeled speech [others, WIDTH]

    @property
    def labels(self) -> Indices:
        """Return the class of each clip."""
        return np.array([clip.label for clip in self.clips])

    @property
    def corpora(self) -> NDArray[np.str_]:
        """Return the corpus of each clip."""
        return np.array([clip.corpus for clip in self.clips])

    @property
    def speakers(self) -> NDArray[np.str_]:
        """Return the speaker of each clip."""
        return np.array([clip.speaker for clip in self.clips])


CHANNELS: tuple[Callable[[Samples], Samples], ...] = (recorded, telephone, opus, noisy)


def listen(student: Student, cache: Cache, speech: Tensor, folder: Path) -> Heard:
    """Return what the network makes of EmoDB and CREMA-D, kept in folder for the next time.

    speech: what enters its transformer of unlabeled speech [clips, frames, WIDTH].
    """
    clips = [clip for clip in cache.clips if clip.corpus in ("emodb", "cremad")]

    def features(sent: Callable[[Samples], Samples], name: str) -> Floats:
        path = folder / f"{name}.npy"
        if not path.exists():
            torch.manual_seed(zlib.crc32(name.encode()))  # a copy is the same in each run
            sounds = (cache.samples[clip.first : clip.first + clip.count] for clip in clips)
            waves = [
                sent((sound.float() / 32768).numpy())
                for sound in tqdm(sounds, f"{name}: sound", len(clips), mininterval=10)
            ]
            np.save(path, pooled(student, waves, name))
        found: Floats = np.load(path)
        return found

    channels = {sent.__name__: features(sent, sent.__name__) for sent in CHANNELS}
    copies = [features(varied, f"varied-{number}") for number in range(COPIES)]
    path = folder / "others.npy"
    if not path.exists():
        with torch.inference_mode():
            others = [student.states(part.float())[-1].mean(1) for part in torch.split(speech, 40)]
        np.save(path, torch.cat(others).numpy().astype(np.float64))
    return Heard(clips, channels, copies, np.load(path))


@dataclasses.dataclass(frozen=True)
class Head:
    """A linear classifier."""

    weight: Floats  # [labels, features]
    bias: Floats  # [labels]

    def __call__(self, features: Floats) -> Floats:
        """Return logits [clips, labels]."""
        return features @ self.weight.T + self.bias


def learn(heard: Heard, chosen: NDArray[np.bool_]) -> Head:
    """Return the classifier that learned from the chosen clips and their copies."""
    versions = [heard.channels["recorded"], *heard.copies]
    features = np.concatenate([version[chosen] for version in versions])
    labels = heard.labels[chosen]
    weights = weights_of(heard.corpora[chosen], labels)
    every = len(versions)
    return Head(
        *discriminant(features, np.tile(labels, every), np.tile(weights, every), heard.speech)
    )


def fold_of(clips: list[Clip]) -> Indices:
    """Return the number of the fold in which each clip is a test."""
    pairs = {f"emodb-{who}": fold for fold, pair in enumerate(PAIRS) for who in pair}
    actors = sorted({clip.speaker for clip in clips if clip.corpus == "cremad"})
    order = np.random.default_rng(0).permutation(len(actors))
    drawn = {actors[place]: rank % FOLDS for rank, place in enumerate(order)}
    return np.array([(pairs | drawn)[clip.speaker] for clip in clips])


def groups_of(clip: Clip) -> list[str]:
    """Return what a clip is reported by."""
    if clip.corpus == "emodb":
        men = {man for man, _ in PAIRS}
        return [
            clip.group.strip(),
            "Male" if clip.speaker.removeprefix("emodb-") in men else "Female",
        ]
    return clip.group.split()


def score(truth: Indices, guess: Indices) -> dict[str, Any]:
    """Return accuracy, unweighted average recall (UAR) and confusion; a row is a true label."""
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, (truth, guess), 1)
    hits = confusion.diagonal()
    recalls = hits / confusion.sum(axis=1).clip(1)
    return {
        "clips": len(truth),
        "accuracy": round(float(hits.sum() / len(truth)), 4),
        "uar": round(float(recalls[confusion.sum(axis=1) > 0].mean()), 4),
        "recalls": [round(float(recall), 3) for recall in recalls],
        "confusion": confusion.tolist(),
    }


def interval(truth: Indices, guess: Indices, speakers: NDArray[np.str_]) -> list[float]:
    """Return the 95 % interval of UAR over 1,000 draws of as many speakers."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(speakers == who) for who in np.unique(speakers)]
    found = []
    for _ in range(1000):
        picked = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        found.append(score(truth[picked], guess[picked])["uar"])
    return [round(float(limit), 3) for limit in np.quantile(found, [0.025, 0.975])]


def chances(logits: Floats) -> Floats:
    """Return probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


def calibration_error(logits: Floats, truth: Indices) -> float:
    """Return by how much the answers' probabilities miss how often they are right, in 15 bins."""
    sure, right = chances(logits).max(1), logits.argmax(1) == truth
    cell = np.minimum((sure * 15).astype(int), 14)
    gaps = [abs((sure - right)[cell == k].sum()) for k in range(15)]
    return round(float(sum(gaps) / len(truth)), 4)


def out_of_fold(heard: Heard, folds: Indices, among: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return logits of all clips, by channel, by classifiers that learned from other folds.

    They learned from clips among those given alone.
    """
    heads = [learn(heard, among & (folds != fold)) for fold in range(FOLDS)]
    return {
        name: np.stack([heads[f](row[None])[0] for f, row in zip(folds, features, strict=True)])
        for name, features in heard.channels.items()
    }


def write_logits(heard: Heard, logits: Floats, folder: Path) -> None:
    """Write logits [clips, labels] to a file for each corpus, from which a bundle is calibrated."""
    for corpus in np.unique(heard.corpora):
        with (folder / f"{corpus}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "speaker", "label", *LABELS])
            for clip, row in zip(heard.clips, logits, strict=True):
                if clip.corpus == corpus:
                    writer.writerow([clip.path, clip.speaker, LABELS[clip.label], *map(str, row)])


def evaluate(heard: Heard, folder: Path) -> tuple[dict[str, Any], Head]:
    """Return all scores, and the classifier that ships: of all clips, with its temperature.

    What the classifiers of the folds answer is written to folder.
    """
    folds, labels, corpora = fold_of(heard.clips), heard.labels, heard.corpora
    groups = [groups_of(clip) for clip in heard.clips]
    weights = weights_of(corpora, labels)
    everything = np.ones(len(labels), dtype=bool)
    answers = out_of_fold(heard, folds, everything)
    clean = answers["recorded"]
    # A fold's temperature comes from the other folds, so that its error is that of new people.
    divisors = [
        temperature(clean[folds != f], labels[folds != f], weights[folds != f])
        for f in range(FOLDS)
    ]
    calibrated = clean / np.array(divisors)[folds][:, None]
    report: dict[str, Any] = {"labels": LABELS, "folds": {}, "left_out": {}}
    for corpus in ("emodb", "cremad"):
        here = corpora == corpus
        whole = {
            **score(labels[here], clean[here].argmax(1)),
            "interval_95_by_speaker": interval(
                labels[here], clean[here].argmax(1), heard.speakers[here]
            ),
            "calibration_error": calibration_error(calibrated[here], labels[here]),
            "channels": {
                name: score(labels[here], logits[here].argmax(1))
                for name, logits in answers.items()
            },
            "groups": {},
        }
        for group in sorted(
            {part for row, own in zip(groups, here, strict=True) if own for part in row}
        ):
            there = here & np.array([group in row for row in groups])
            whole["groups"][group] = score(labels[there], clean[there].argmax(1))
        report["folds"][corpus] = whole
        head = learn(heard, ~here)
        unheard = {name: head(features[here]) for name, features in heard.channels.items()}
        guess = unheard["recorded"].argmax(1)
        known = out_of_fold(heard, folds, ~here)["recorded"][~here]
        divisor = temperature(known, labels[~here], weights[~here])
        report["left_out"][corpus] = {
            **score(labels[here], guess),
            "interval_95_by_speaker": interval(labels[here], guess, heard.speakers[here]),
            "calibration_error": calibration_error(unheard["recorded"] / divisor, labels[here]),
            "channels": {
                name: score(labels[here], logits.argmax(1)) for name, logits in unheard.items()
            },
        }
    divisor = temperature(clean, labels, weights)
    report["temperature"] = round(divisor, 4)
    report["calibration_error"] = calibration_error(calibrated, labels)
    write_logits(heard, clean / divisor, folder)
    final = learn(heard, everything)
    return report, Head(final.weight / divisor, final.bias / divisor)
