#!/usr/bin/env python3
"""Train voxmood-tiny: a one-million-parameter speech emotion model, from raw audio, on two cores.

    python train.py --pretrain     # the network learns to hear: spectrum, pitch, EmoGator's labels
    python train.py --fold 0       # ... then emotion; two EmoDB speakers are kept for testing
    python train.py --final        # ... or on all ten speakers: the weights that ship
    python train.py --evaluate     # pool the five folds into evaluation.json

A run that was interrupted continues where its last saved state stands. A step's random numbers
depend on the seed and the step alone, so an interrupted run ends as an uninterrupted one does.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import dataclasses
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio import LABELS, LAGS, MELS, Clip, channel, crop, hearing, normalize, read_corpus
from evaluate import (
    EXTRACTOR,
    FOLDS,
    SEARCH_FOLD,
    beyond,
    distorted,
    evaluate,
    logits_of,
    score,
    write_logits,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

HERE = Path(__file__).resolve().parent


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
    ema: float = 0.99  # decay of the averaged weights, which are the ones that are kept
    mask: float = 0.1  # share of the encoder's input frames that are hidden
    auxiliary: float = 0.3  # weight of the spectrum and pitch regression
    bursts: float = 0.25  # share of EmoGator's clips in a batch
    speed: float = 0.12  # largest change of speed (and pitch), either way
    channel: float = 1.0  # strength of the simulated microphones and rooms
    dropout: float = 0.1
    pretrained: bool = True


PRETRAIN: dict[str, Any] = {"steps": 600, "mask": 0.2, "auxiliary": 1.0, "bursts": 1.0}


class Trainee(nn.Module):
    """The model that ships, and the heads that only training needs."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        width = 128
        config = Wav2Vec2Config(
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
        self.model: Any = Wav2Vec2ForSequenceClassification(config)
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
        spans = functional.max_pool1d(starts.float()[:, None], 10, 1, 5)[:, 0, : hidden.shape[1]]
        hidden = hidden.masked_fill(spans[..., None] > 0, 0.0)
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
    count = round(settings.batch * settings.bursts)
    parts = (speech, settings.batch - count), (bursts, count)
    chosen = [part[i] for part, n in parts if n for i in rng.integers(len(part), size=n)]
    waves = np.stack([crop(clip, settings.crop, settings.speed, rng) for clip in chosen])
    x = normalize(channel(torch.from_numpy(waves.astype(np.float32)), settings.channel))
    labels = functional.one_hot(torch.tensor([clip.label for clip in chosen]), len(LABELS)).float()
    labels = labels * (1 - settings.smoothing) + settings.smoothing / len(LABELS)
    is_speech = torch.arange(settings.batch) < settings.batch - count
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

    Every hundred steps and at the end the state is saved, and check gets the step and the averaged
    weights.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainee.to(device).train()
    average = copy.deepcopy(trainee).requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainee.parameters() if p.ndim >= 2]},
        {"params": [p for p in trainee.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    saved, first = folder / "state.pt", 0
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        if state["settings"] != dataclasses.asdict(settings):
            raise SystemExit(f"{saved} was made with other settings: remove it to start again")
    smooth = math.nan
    bar = tqdm(range(first, settings.steps), initial=first, total=settings.steps, mininterval=10)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        loss = loss_of(trainee, make_batch(speech, bursts, settings, step, device), settings)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        decay = min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), trainee.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
        if (step + 1) % 100 == 0 or step + 1 == settings.steps:
            state = {
                "settings": dataclasses.asdict(settings),
                "step": step + 1,
                "trainee": trainee.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)  # the old state or the new, never half of one
            check(step + 1, average)
    return average


def run(
    name: str, settings: Settings, corpora: Path, runs: Path, left_out: tuple[str, ...] = ()
) -> Path:
    """Train one model and write it, and its logits for the speakers left out, to runs/name."""
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        raise SystemExit(f"{folder} is done: remove it to train again")
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
            truth = np.array([clip.label for clip in test])
            loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth))
            recall = score(truth, logits.argmax(1))["uar"]
            history[step] = {"uar": recall, "cross_entropy": round(loss.item(), 4)}
            tqdm.write(f"step {step}: UAR {recall:.3f}, cross-entropy {loss:.3f}", sys.stderr)
            write_logits(folder / "logits.csv", test, logits)

    speech = [clip for clip in clips if clip.speaker not in left_out]
    start = time.monotonic()
    average = train(trainee, speech, bursts, settings, folder, check)
    if pretraining:
        save_file(average.state_dict(), folder / "model.safetensors")
    else:
        average.model.save_pretrained(folder)
        EXTRACTOR.save_pretrained(folder)
    report = {
        "settings": dataclasses.asdict(settings),
        "speakers_left_out": left_out,
        "seconds": round(time.monotonic() - start),
        "by_step": history,
    }
    (folder / "run.json").write_text(json.dumps(report, indent=1) + "\n")
    return folder


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
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pretrain", action="store_true", help="Learn spectrum and pitch on EmoGator."
    )
    what.add_argument("--fold", type=int, choices=range(len(FOLDS)), help="Leave two speakers out.")
    what.add_argument("--search", metavar="NAME", help="Train the search fold with --set.")
    what.add_argument("--final", action="store_true", help="Train the shipped weights.")
    what.add_argument("--evaluate", action="store_true", help="Write evaluation.json.")
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="Settings to use."
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    if args.evaluate:
        report = evaluate(args.runs)
        report["distorted"] = distorted(args.runs, args.corpora)
        report |= beyond(HERE, args.corpora)
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
