#!/usr/bin/env python3
"""Train voxmood-tiny: a one-million-parameter speech emotion model, from raw audio, on two cores.

    python train.py --pretrain     # the network learns to hear: spectrum and pitch of EmoGator
    python train.py --fold 0       # ... then emotion; two EmoDB speakers are kept for testing
    python train.py --final        # ... or on all ten speakers: the weights that ship
    python train.py --evaluate     # pool the five folds into evaluation.json

A run that was interrupted continues where its last saved state stands. A step's random numbers
depend on the seed and the step alone, so an interrupted run ends as an uninterrupted one does.
"""

from __future__ import annotations

import argparse
import copy
import csv
import ctypes
import dataclasses
import datetime
import json
import math
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

Samples = NDArray[np.float32]
Logits = NDArray[np.float32]
Indices = NDArray[np.int64]
Strings = NDArray[np.str_]

HERE = Path(__file__).resolve().parent
LABELS = ("neu", "hap", "ang", "sad")
FOLDS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))  # (man, woman)
SEARCH_FOLD = 0  # the settings were chosen on it
RATE = 16_000  # samples per second
HOP = 320  # samples between two frames of the network, 20 ms
RECEPTIVE = 400  # samples that one frame of the front end sees, 25 ms
MELS, LAGS = 40, 24  # size of the two halves of the self-supervised target


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run's settings; `--set name=value` changes one."""

    seed: int = 1
    steps: int = 600
    batch: int = 32  # clips
    crop: float = 2.5  # seconds
    lr: float = 1.5e-3  # peak of the one-cycle schedule
    weight_decay: float = 0.05
    smoothing: float = 0.1  # of the labels
    mixup: float = 0.0  # Beta(mixup, mixup); 0 is off
    ema: float = 0.99  # decay of the averaged weights, which are the ones that are kept
    mask: float = 0.1  # share of the encoder's input frames that are hidden
    auxiliary: float = 0.3  # weight of the spectrum and pitch regression
    bursts: float = 0.25  # share of EmoGator's clips in a batch
    speed: float = 0.12  # largest change of speed (and pitch), either way
    channel: float = 1.0  # strength of the simulated microphones and rooms
    dropout: float = 0.1
    pretrained: bool = True


PRETRAIN: dict[str, Any] = {"steps": 600, "mask": 0.2, "auxiliary": 1.0, "bursts": 1.0}


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording in memory: 16 kHz mono samples, class index, speaker."""

    path: str
    samples: Samples
    label: int
    speaker: str


def read_corpus(folder: Path) -> list[Clip]:
    """Read every clip that a corpus' manifest.csv lists."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = []
    for row in tqdm(rows, desc=f"reading {folder.name}", leave=False):
        samples, rate = soundfile.read(folder / row["path"], dtype="float32")
        if rate != RATE or samples.ndim != 1:
            raise ValueError(f"{row['path']}: expected {RATE} Hz mono")
        clips.append(Clip(row["path"], samples, LABELS.index(row["label"]), row["speaker"]))
    return clips


def crop(clip: Clip, seconds: float, speed: float, rng: np.random.Generator) -> Samples:
    """A stretch of the clip at a random speed; a shorter clip is repeated or sits in silence."""
    factor = math.exp(rng.uniform(-1, 1) * math.log1p(speed))
    wanted = round(seconds * RATE)
    start = rng.integers(max(1, len(clip.samples) - round(wanted * factor) + 1))
    stretch = clip.samples[start : start + round(wanted * factor) + 1]
    stretch = soxr.resample(stretch, RATE * factor, RATE, "LQ")[:wanted]
    if len(stretch) == wanted:
        return stretch
    if rng.random() < 0.5:
        return np.roll(np.resize(stretch, wanted), rng.integers(wanted))
    before = rng.integers(wanted - len(stretch) + 1)
    return np.pad(stretch, (before, wanted - len(stretch) - before))


def uniform(batch: int, low: float, high: float) -> Tensor:
    """One random number for each clip, as a column."""
    return low + (high - low) * torch.rand(batch, 1)


def chance(batch: int, probability: float) -> Tensor:
    """A column of booleans, one for each clip."""
    return torch.rand(batch, 1) < probability


def channel(x: Tensor, strength: float) -> Tensor:
    """Pass each clip through a random microphone, room, noise and codec.

    Done in the frequency domain, where all but the codec are products and sums.
    x: [clips, samples], any level.
    """
    batch, samples = x.shape
    tail = 6000  # samples of echo
    size = 2048 * math.ceil((samples + tail) / 2048)  # a length that the FFT is quick at
    spectrum = torch.fft.rfft(x, size)
    # Gains are smooth: work them out on a grid of an eighth of an octave and look them up.
    octaves = torch.arange(-5.5, 3.01, 0.125)[None]  # from 1 kHz
    hertz = torch.fft.rfftfreq(size, 1 / RATE).clamp(min=25)
    cell = ((hertz / 1000).log2().sub(octaves[0, 0]) / 0.125).round().long()
    decibels = strength * uniform(batch, -2, 2) * octaves.clamp(-3, 3)
    for _ in range(4):
        centre, width = uniform(batch, -4, 3), uniform(batch, 0.3, 1.5)
        bump = torch.exp(-(((octaves - centre) / width) ** 2))
        decibels = decibels + strength * uniform(batch, -6, 6) * bump
    low, high = uniform(batch, -4, -1.5), uniform(batch, 1.6, 2.9)
    band = -10 * torch.log10((1 + 4 ** (low - octaves)) * (1 + 2 ** (8 * (octaves - high))))
    decibels = decibels + torch.where(chance(batch, 0.3 * strength), band, 0)
    spectrum = spectrum * (10 ** (decibels / 20))[:, cell]
    echo = torch.randn(batch, tail)
    echo = echo * torch.exp(-torch.arange(tail) / RATE / uniform(batch, 0.02, 0.12))
    echo = echo / echo.norm(dim=1, keepdim=True) * uniform(batch, 0.1, 0.8)
    echo = echo * chance(batch, 0.4 * strength)
    spectrum = spectrum * (1 + torch.fft.rfft(echo, size))
    colour = (2 ** (-octaves * uniform(batch, 0, 1)))[:, cell]  # white to brown
    noise = torch.view_as_complex(torch.randn(*spectrum.shape, 2)) * colour
    level = 10 ** (-uniform(batch, 5, 50) / 20) * chance(batch, 0.8 * strength)
    level = level * torch.linalg.vector_norm(spectrum, dim=1, keepdim=True)
    spectrum = spectrum + noise * level / torch.linalg.vector_norm(noise, dim=1, keepdim=True)
    x = torch.fft.irfft(spectrum, size)[:, :samples]
    x = x / (x.abs().amax(dim=1, keepdim=True) + 1e-9)
    ceiling = torch.where(chance(batch, 0.1 * strength), uniform(batch, 0.2, 1), 1.0)
    x = x.clamp(-ceiling, ceiling)
    coded = torch.nonzero(chance(batch, 0.15 * strength)[:, 0])[:, 0]  # 8-bit mu-law
    y = torch.log1p(255 * x[coded].abs()) / math.log(256)
    y = torch.expm1((y * 127).round() / 127 * math.log(256)) / 255
    x[coded] = y * x[coded].sign()
    return x


def normalise(x: Tensor) -> Tensor:
    """Zero mean and unit variance of each clip, as Wav2Vec2FeatureExtractor does."""
    x = x - x.mean(dim=1, keepdim=True)
    return x / torch.sqrt(x.var(dim=1, keepdim=True, correction=0) + 1e-7)


def hearing(x: Tensor) -> Tensor:
    """What a listener would measure, for each frame of the network: the self-supervised target.

    A log-mel spectrum, and the autocorrelation at lags of 60 to 500 Hz, which shows pitch and
    voicing without the octave errors of a pitch tracker. Standardised over the batch.
    x: [clips, samples]; returned: [clips, frames, MELS + LAGS].
    """
    window = 2 * RECEPTIVE
    frames = functional.pad(x, (RECEPTIVE // 2, RECEPTIVE // 2)).unfold(1, window, HOP)
    power = torch.fft.rfft(frames * torch.hann_window(window, device=x.device), 1024).abs().square()
    hertz = torch.fft.rfftfreq(1024, 1 / RATE, device=x.device)
    mel = 2595 * torch.log10(1 + hertz / 700)
    centres = torch.linspace(100, 2800, MELS, device=x.device)
    filters = (1 - (mel[:, None] - centres).abs() / (centres[1] - centres[0])).clamp(min=0)
    spectrum = torch.log(power @ filters + 1e-3)
    correlation = torch.fft.irfft(power)
    lags = torch.logspace(math.log10(RATE / 500), math.log10(RATE / 60), LAGS).round().long()
    correlation = correlation[..., lags.to(x.device)] / (correlation[..., :1] + 1.0)
    target = torch.cat([spectrum, correlation], dim=-1)
    return (target - target.mean((0, 1))) / (target.std((0, 1)) + 1e-3)


class Trainee(nn.Module):
    """The model that ships, and the heads that only training needs."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        width = 128
        config = Wav2Vec2Config(  # type: ignore[no-untyped-call]
            conv_dim=(32, 32, 64, 64, 128, 128, 128),
            conv_kernel=(10, 3, 3, 3, 3, 2, 2),
            conv_stride=(5, 2, 2, 2, 2, 2, 2),
            conv_bias=True,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            use_weighted_layer_sum=True,
            hidden_size=width,
            num_hidden_layers=4,
            num_attention_heads=width // 32,
            intermediate_size=4 * width,
            num_conv_pos_embeddings=32,
            num_conv_pos_embedding_groups=8,
            classifier_proj_size=width,
            hidden_dropout=dropout,
            # Random numbers for the wide tensors cost a fifth of a step and gained nothing.
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
            mask_time_prob=0.0,
            vocab_size=32,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
        )
        self.model: Any = Wav2Vec2ForSequenceClassification(config)  # type: ignore[no-untyped-call]
        self.bursts = nn.Linear(width, len(LABELS))  # vocal bursts have a classifier of their own
        self.hear_early = nn.Linear(width, MELS + LAGS)
        self.hear_late = nn.Linear(width, MELS + LAGS)

    def front_end(self, x: Tensor) -> Tensor:
        """The model's convolutions and layer norms as matrix products over frames.

        The same numbers as `feature_extractor`, without its transposes: half the time on a CPU.
        """
        frames = x[..., None]
        for layer in self.model.wav2vec2.feature_extractor.conv_layers:
            conv = layer.conv
            frames = frames.unfold(1, conv.kernel_size[0], conv.stride[0]).flatten(2)
            frames = functional.linear(frames, conv.weight.flatten(1), conv.bias)
            frames = functional.gelu(layer.layer_norm(frames))
        return frames

    def forward(self, x: Tensor, mask: float) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Speech logits, burst logits, and what was heard early and late in the network."""
        model = self.model
        hidden, features = model.wav2vec2.feature_projection(self.front_end(x))
        starts = torch.rand(hidden.shape[:2], device=x.device) < mask / 10  # spans of 10 frames
        masked = (
            functional.max_pool1d(starts.float()[:, None], 10, 1, 5)[:, 0, : hidden.shape[1]] > 0
        )
        hidden = hidden.masked_fill(masked[..., None], 0.0)
        states = model.wav2vec2.encoder(hidden, output_hidden_states=True).hidden_states
        weights = model.layer_weights.softmax(-1)
        mixed = sum(weight * state for weight, state in zip(weights, states, strict=True))
        pooled = model.projector(mixed).mean(dim=1)
        heard = [self.hear_early(features), self.hear_late(states[-1])]
        return model.classifier(pooled), self.bursts(pooled), heard


def make_batch(
    speech: list[Clip], bursts: list[Clip], settings: Settings, step: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Augmented clips [batch, samples], label probabilities [batch, 4], and which are speech."""
    rng = np.random.default_rng((settings.seed, step))
    torch.manual_seed(settings.seed * 1_000_003 + step)  # also the dropout of this step
    count = round(settings.batch * settings.bursts) if bursts else 0
    pairs: list[tuple[list[Clip], int]] = [(speech, settings.batch - count), (bursts, count)]
    chosen = [corpus[i] for corpus, n in pairs if n for i in rng.integers(len(corpus), size=n)]
    waves = np.stack([crop(clip, settings.crop, settings.speed, rng) for clip in chosen])
    x = normalise(channel(torch.from_numpy(waves.astype(np.float32)), settings.channel))
    labels = functional.one_hot(torch.tensor([clip.label for clip in chosen]), len(LABELS)).float()
    labels = labels * (1 - settings.smoothing) + settings.smoothing / len(LABELS)
    is_speech = torch.arange(settings.batch) < settings.batch - count
    if settings.mixup:
        share = torch.from_numpy(rng.beta(settings.mixup, settings.mixup, (settings.batch, 1)))
        share = torch.maximum(share, 1 - share).float()
        other = torch.cat(
            [
                torch.randperm(settings.batch - count),
                torch.randperm(count) + settings.batch - count,
            ]
        )
        x = normalise(share * x + (1 - share) * x[other])
        labels = share * labels + (1 - share) * labels[other]
    return x.to(device), labels.to(device), is_speech.to(device)


def learning_rate(step: int, settings: Settings) -> float:
    """One cycle: linear rise over a tenth of the steps, then a cosine to nothing."""
    rise = settings.steps / 10
    fall = (step - rise) / (settings.steps - rise)
    cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, fall)))
    return settings.lr * (step + 1) / rise if step < rise else settings.lr * cosine


def loss_of(trainee: Trainee, batch: tuple[Tensor, Tensor, Tensor], settings: Settings) -> Tensor:
    """Cross-entropy of both kinds of clip plus the weighted error of what was heard."""
    x, labels, is_speech = batch
    with torch.autocast(x.device.type, torch.bfloat16):
        speech, bursts, heard = trainee(x, settings.mask)
    logits = torch.where(is_speech[:, None], speech, bursts).float()
    target = hearing(x)
    errors = torch.stack([functional.mse_loss(guess.float(), target) for guess in heard])
    return functional.cross_entropy(logits, labels) + settings.auxiliary * errors.mean()


def train(
    trainee: Trainee,
    speech: list[Clip],
    bursts: list[Clip],
    settings: Settings,
    folder: Path,
    check: Callable[[int, Trainee], None],
) -> Trainee:
    """Train from the last saved state in folder; returned are the averaged weights.

    check is called with the step and the averaged weights every hundred steps.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainee.to(device).train()
    average = copy.deepcopy(trainee).requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainee.parameters() if p.ndim >= 2]},
        {"params": [p for p in trainee.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    saved, first = folder / "state.pt", 0
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    smooth = math.nan
    bar = tqdm(range(first, settings.steps), initial=first, total=settings.steps, mininterval=10)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        loss = loss_of(trainee, make_batch(speech, bursts, settings, step, device), settings)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimiser.step()
        decay = min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), trainee.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
        if (step + 1) % 100 == 0:
            save_state(saved, trainee, average, optimiser, step + 1)
            check(step + 1, average)
    return average


def save_state(
    path: Path, trainee: Trainee, average: Trainee, optimiser: torch.optim.Optimizer, step: int
) -> None:
    """Save what a later start needs; an interruption leaves the old state or the new one."""
    state = {
        "trainee": trainee.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


EXTRACTOR: Any = Wav2Vec2FeatureExtractor(  # type: ignore[no-untyped-call]
    do_normalize=True, return_attention_mask=True
)


@torch.inference_mode()
def logits_of(model: Any, waves: list[Samples]) -> Logits:
    """Logits [clips, labels] of whole recordings, one by one, as a user of the model gets them."""
    model.eval()
    rows = []
    for wave in waves:
        inputs = EXTRACTOR(wave, sampling_rate=RATE, return_tensors="pt").to(model.device)
        rows.append(model(**inputs).logits[0].float().cpu().numpy())
    return np.stack(rows)


def run(
    name: str, settings: Settings, corpora: Path, runs: Path, left_out: tuple[str, ...] = ()
) -> Path:
    """Train one model and write it, and its logits for the speakers left out, to runs/name."""
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    pretraining = name == "pretrain"
    clips = [] if pretraining else read_corpus(corpora / "emodb")
    bursts = read_corpus(corpora / "emogator") if settings.bursts else []
    test = [clip for clip in clips if clip.speaker in left_out]
    torch.manual_seed(settings.seed)
    trainee = Trainee(settings.dropout)
    if settings.pretrained and not pretraining:
        trainee.load_state_dict(load_file(runs / "pretrain" / "model.safetensors"))
    history: dict[int, dict[str, float]] = {}

    def check(step: int, average: Trainee) -> None:
        if test and (name.startswith("search") or step == settings.steps):
            logits = logits_of(average.model, [clip.samples for clip in test])
            truth = [clip.label for clip in test]
            loss = functional.cross_entropy(torch.from_numpy(logits), torch.tensor(truth)).item()
            recall = float(recall_score(truth, logits.argmax(1), average="macro"))
            history[step] = {"uar": round(recall, 4), "cross_entropy": round(loss, 4)}
            tqdm.write(f"step {step}: UAR {recall:.3f}, cross-entropy {loss:.3f}", sys.stderr)
            average.train()

    speech = [clip for clip in clips if clip.speaker not in left_out]
    start = time.monotonic()
    average = train(trainee, speech, bursts, settings, folder, check)
    if pretraining:
        save_file(average.state_dict(), folder / "model.safetensors")
    else:
        average.model.save_pretrained(folder)
        EXTRACTOR.save_pretrained(folder)
    if test:
        logits = logits_of(average.model, [clip.samples for clip in test])
        write_logits(folder / "logits.csv", test, logits)
    report = {
        "settings": dataclasses.asdict(settings),
        "speakers_left_out": left_out,
        "seconds": round(time.monotonic() - start),
        "by_step": history,
    }
    (folder / "run.json").write_text(json.dumps(report, indent=1) + "\n")
    return folder


def write_logits(path: Path, clips: list[Clip], logits: Logits) -> None:
    """Write what a model that never heard these speakers answers for them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "label", *LABELS])
        for clip, row in zip(clips, logits, strict=True):
            writer.writerow([clip.path, clip.speaker, LABELS[clip.label], *map(str, row)])


def interval(
    truth: Indices, guess: Indices, speakers: Strings | None, rounds: int = 2000
) -> list[float]:
    """95 % bootstrap interval of the UAR; speakers are resampled, or clips where there are none."""
    rng = np.random.default_rng(0)
    names = np.unique(speakers) if speakers is not None else None
    values = []
    for _ in range(rounds):
        if names is None:
            chosen = rng.integers(len(truth), size=len(truth))
        else:
            drawn = rng.choice(names, size=len(names))
            chosen = np.concatenate([np.flatnonzero(speakers == name) for name in drawn])
        hits = truth[chosen] == guess[chosen]
        values.append(np.mean([hits[truth[chosen] == k].mean() for k in range(len(LABELS))]))
    return [round(float(value), 4) for value in np.quantile(values, [0.025, 0.975])]


def score(truth: Indices, guess: Indices) -> dict[str, Any]:
    """Accuracy, unweighted average recall, and the confusion matrix (a row is a true label)."""
    return {
        "clips": len(truth),
        "accuracy": round(float(accuracy_score(truth, guess)), 4),
        "uar": round(float(recall_score(truth, guess, average="macro")), 4),
        "confusion": confusion_matrix(truth, guess, labels=range(len(LABELS))).tolist(),
    }


def signals(seconds: float = 3.0) -> dict[str, Samples]:
    """What is not speech, and yet will be given to the model. RMS 0.1."""
    rng = np.random.default_rng(0)
    count = round(seconds * RATE)
    white = rng.standard_normal(count)
    colour = np.maximum(np.arange(count // 2 + 1), 1) ** -0.5
    pink = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * colour)
    tone = np.sin(2 * np.pi * 440 * np.arange(count) / RATE)
    found = {"white noise": white, "pink noise": pink, "440 Hz tone": tone}
    scaled = {name: (0.1 * x / x.std()).astype(np.float32) for name, x in found.items()}
    return {"silence (zeros)": np.zeros(count, np.float32), **scaled}


def evaluate(corpora: Path, runs: Path) -> dict[str, Any]:
    """Pool the folds that are there; add what the shipped weights say beyond EmoDB."""
    rows: list[dict[str, str]] = []
    folds = []
    for fold, speakers in enumerate(FOLDS):
        path = runs / f"fold-{fold}" / "logits.csv"
        if not path.exists():
            continue
        with path.open(newline="") as file:
            new = list(csv.DictReader(file))
        rows += [{**row, "fold": str(fold)} for row in new]
        folds.append({"fold": fold, "speakers": speakers, **score(*truth_and_guess(new))})
    truth, guess = truth_and_guess(rows)
    people = np.array([row["speaker"] for row in rows])
    unseen = truth_and_guess([row for row in rows if row["fold"] != str(SEARCH_FOLD)])
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "corpus": "EmoDB, four classes, speaker-independent, whole recordings, float32",
        "labels": LABELS,
        "pooled": {
            **score(truth, guess),
            "speakers": len(np.unique(people)),
            "uar_95_resampling_speakers": interval(truth, guess, people),
            "uar_95_resampling_clips": interval(truth, guess, None),
        },
        "pooled_without_search_fold": score(*unseen),
        "search_fold": SEARCH_FOLD,
        "folds": folds,
        "search": [
            {"name": path.parent.name, **json.loads(path.read_text())}
            for path in sorted(runs.glob("search-*/run.json"))
        ],
        "settings": dataclasses.asdict(Settings()),
        "pretraining": dataclasses.asdict(Settings(**PRETRAIN)),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
        },
    }
    if (HERE / "model.safetensors").exists():
        model = Wav2Vec2ForSequenceClassification.from_pretrained(HERE)
        found = signals()
        chances = softmax(logits_of(model, list(found.values())))
        report["not_speech"] = {
            name: {label: round(float(p), 3) for label, p in zip(LABELS, row, strict=True)}
            for name, row in zip(found, chances, strict=True)
        }
        bursts = read_corpus(corpora / "emogator")
        logits = logits_of(model, [clip.samples for clip in tqdm(bursts, desc="emogator")])
        report["emogator"] = score(np.array([c.label for c in bursts]), logits.argmax(1))
    return report


def truth_and_guess(rows: list[dict[str, str]]) -> tuple[Indices, Indices]:
    """Class indices that rows of logits.csv name and answer."""
    truth = [LABELS.index(row["label"]) for row in rows]
    logits = np.array([[float(row[label]) for label in LABELS] for row in rows])
    return np.array(truth), logits.argmax(1)


def softmax(logits: Logits) -> Logits:
    """Probabilities of each row."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: fresh pages for every tensor made a CPU step twice as long."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX
        ctypes.CDLL(None).mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def parse(settings: Settings, changes: list[str]) -> Settings:
    """Apply `name=value` changes, each read as the type that its setting has."""
    kinds = {name: type(value) for name, value in dataclasses.asdict(settings).items()}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in kinds:
            raise SystemExit(f"no setting {name!r}; there are {', '.join(kinds)}")
        values[name] = kinds[name](float(value))
    return dataclasses.replace(settings, **values)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pretrain", action="store_true", help="spectrum and pitch, on EmoGator")
    what.add_argument("--fold", type=int, choices=range(len(FOLDS)), help="leave two speakers out")
    what.add_argument("--search", metavar="NAME", help="the search fold with --set, as search-NAME")
    what.add_argument("--final", action="store_true", help="all speakers: the weights that ship")
    what.add_argument("--evaluate", action="store_true", help="write evaluation.json")
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    if args.evaluate:
        report = evaluate(args.corpora, args.runs)
        (HERE / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
        print(json.dumps(report["pooled"]))
        return
    settings = parse(Settings(**PRETRAIN) if args.pretrain else Settings(), args.set)
    if args.pretrain:
        run("pretrain", settings, args.corpora, args.runs)
    elif args.search:
        run(f"search-{args.search}", settings, args.corpora, args.runs, FOLDS[SEARCH_FOLD])
    elif args.final:
        folder = run("final", settings, args.corpora, args.runs)
        for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
            shutil.copy(folder / name, HERE / name)
    else:
        run(f"fold-{args.fold}", settings, args.corpora, args.runs, FOLDS[args.fold])


if __name__ == "__main__":
    main()
