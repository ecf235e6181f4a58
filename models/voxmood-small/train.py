#!/usr/bin/env python3
"""Train voxmood-small: a speech emotion model of 2.5 million parameters, from raw audio.

    python train.py --prepare ENCODER   # decode, code and let the teacher hear all recordings
    python train.py --pretrain          # the network learns to hear, from its teacher and itself
    python train.py --fold 0            # ... then emotion; a fifth of the speakers is kept
    python train.py --without emodb     # ... or a whole corpus is
    python train.py --final             # ... or nothing: the weights that ship

A run that was interrupted continues where its last saved state stands. A step's random numbers
depend on the seed and the step alone, so an interrupted run ends as an uninterrupted one does.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio import HOP, RATE, RECEPTIVE, channel, hearing, normalize, read_at, stretch
from corpora import LABELS, WIDTH, Cache, Clip, prepare, read_cache
from evaluate import EXTRACTOR, FOLDS, fold_of, logits_of, score, write_logits
from network import Trainee
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
TEACHER_HOP, TEACHER_CENTER = 384, 447  # samples: between two of its frames, and to the first
SLOWEST = 1.25  # samples that are read for one that is wanted, so that a faster tempo finds them


@dataclasses.dataclass(frozen=True)
class Settings:
    """One run's settings; `--set name=value` changes one."""

    seed: int = 1
    steps: int = 1200
    batch: int = 96  # clips
    crop: float = 2.5  # seconds
    lr: float = 5e-4  # peak of the one-cycle schedule
    weight_decay: float = 0.05
    ema: float = 0.995  # decay of the averaged weights, which are the ones that are kept
    dropout: float = 0.1
    pretrained: bool = True
    # What a batch is made of.
    bursts: float = 0.15  # share of EmoGator's clips
    unlabelled: float = 0.15  # share of clips without labels
    emodb: float = 0.3  # share of EmoDB in the labeled speech, where there is also CREMA-D
    agreed: float = 1.5  # how often a clip is drawn whose label the crowd heard, to once for others
    # What is asked.
    smoothing: float = 0.1  # of the labels
    crowd: float = 0.15  # weight of the crowd's vote in a label
    shared: bool = False  # bursts are answered by speech's classifier, not by one of their own
    calm: float = 0.1  # weight of the variance of the answers to clips without labels
    hear: float = 0.1  # weight of the spectrum and pitch regression
    teach: float = 0.3  # weight of the regression of the teacher's frames
    pool: float = 0.3  # weight of the regression of their means over a clip
    # How sound is varied.
    mask: float = 0.1  # share of the encoder's input frames that are hidden
    speed: float = 0.12  # largest change of speed and pitch, either way
    tempo: float = 0.2  # largest change of tempo alone, either way, of a third of the clips
    channel: float = 1.0  # strength of the simulated microphones and rooms
    coded: float = 0.2  # share of the labeled clips that went through a codec
    backwards: float = 0.0  # share of the clips that are played backwards: voices without words


PRETRAIN: dict[str, Any] = {
    "steps": 6000, "batch": 192, "crop": 3.0, "lr": 1.2e-3, "ema": 0.999, "dropout": 0.0,
    "bursts": 0.15, "unlabelled": 0.85, "hear": 0.3, "teach": 1.0, "pool": 0.5,
    "speed": 0.05, "tempo": 0.0, "channel": 0.8, "calm": 0.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Part:
    """Clips of one kind, how likely each is drawn, and how many there are in a batch."""

    clips: NDArray[np.integer]
    chances: NDArray[np.floating]
    count: int


@dataclasses.dataclass(frozen=True)
class Table:
    """What the device must know of every clip, one row each."""

    places: Tensor  # int64: first, coded, count, teacher, teacher_count
    labels: Tensor  # probabilities of LABELS
    kinds: Tensor  # 0 labeled speech, 1 burst, 2 no label


@dataclasses.dataclass(frozen=True)
class Batch:
    """Varied clips and what is asked of them."""

    waves: Tensor  # [clips, samples]
    counts: Tensor  # how many of the samples are heard [clips]
    labels: Tensor  # probabilities [clips, labels]
    kinds: Tensor  # as in Table [clips]
    teacher: Tensor  # its frames, at the network's [clips, frames, WIDTH]
    taught: Tensor  # which of them there are [clips, frames]


def tabulate(cache: Cache, settings: Settings, device: torch.device) -> Table:
    """Return the table of a cache's clips."""
    places, labels, kinds = [], [], []
    eye = np.eye(len(LABELS))
    for clip in cache.clips:
        places.append([clip.first, clip.coded, clip.count, clip.teacher, clip.teacher_count])
        kinds.append({"emogator": 1, "unlabelled": 2}.get(clip.corpus, 0))
        row = np.full(len(LABELS), 1 / len(LABELS))
        if clip.label >= 0:
            vote = clip.vote if clip.vote >= 0 else clip.label
            heard = (1 - settings.crowd) * eye[clip.label] + settings.crowd * eye[vote]
            row = (1 - settings.smoothing) * heard + settings.smoothing * row
        labels.append(row)
    return Table(
        torch.tensor(places, device=device),
        torch.tensor(np.array(labels), dtype=torch.float32, device=device),
        torch.tensor(kinds, device=device),
    )


def parts_of(clips: list[Clip], left_out: set[int], settings: Settings) -> list[Part]:
    """Return what to draw from, without the clips left out: each class of a corpus as often."""
    by_class: dict[tuple[str, int], list[int]] = {}
    for index, clip in enumerate(clips):
        if index not in left_out:
            by_class.setdefault((clip.corpus, clip.label), []).append(index)
    corpora = {corpus for corpus, _ in by_class}
    bursts, unlabelled = (round(settings.batch * s) for s in (settings.bursts, settings.unlabelled))
    speech = settings.batch - bursts - unlabelled
    both = {"emodb", "cremad"} <= corpora
    emodb = round(speech * settings.emodb) if both else speech
    counts = {"emogator": bursts, "unlabelled": unlabelled}
    counts |= {"emodb": emodb, "cremad": speech - emodb if both else speech}
    parts = []
    for corpus in sorted(corpora):
        chosen, chances = [], []
        for (where, _), members in sorted(by_class.items()):
            if where == corpus:
                odds = np.array(
                    [settings.agreed if clips[i].vote == clips[i].label else 1.0 for i in members]
                )
                chosen += members
                chances += list(odds / odds.sum())
        odds = np.array(chances)
        if counts[corpus]:
            parts.append(Part(np.array(chosen), odds / odds.sum(), counts[corpus]))
    return parts


def make_batch(
    cache: Cache, table: Table, parts: list[Part], settings: Settings, step: int
) -> Batch:
    """Draw clips and vary them."""
    rng = np.random.default_rng((settings.seed, step))
    torch.manual_seed(settings.seed * 1_000_003 + step)  # also the dropout of this step
    device = table.places.device
    drawn = np.concatenate([rng.choice(p.clips, p.count, p=p.chances) for p in parts])
    size, wanted = len(drawn), round(settings.crop * RATE)
    speed = np.exp(rng.uniform(-1, 1, size) * math.log1p(settings.speed))
    tempo = np.exp(rng.uniform(-1, 1, size) * math.log1p(settings.tempo))
    tempo = np.where(rng.random(size) < 1 / 3, tempo, 1.0)
    columns = np.stack([speed, tempo, *rng.random((4, size))])
    speeds, tempos, where, coded, silent, turned = (
        column[:, None] for column in torch.from_numpy(columns).float().to(device)
    )
    chosen = torch.from_numpy(drawn).to(device)
    first, copy_, count, teacher, teacher_count = table.places[chosen][..., None].unbind(1)
    factor = speeds * tempos  # samples of the recording for one of the result
    length = (count / factor).clamp(max=wanted)
    # A short clip stands alone, or somewhere in silence; of a long one a stretch is taken.
    silent = (silent < 0.3) & (length < wanted)
    begin = torch.where(
        silent, -where * (wanted - length) * factor, where * (count - length * factor)
    )
    counts = torch.where(silent, wanted, length).long().clamp(min=RATE // 10)[:, 0]
    first = torch.where(coded < settings.coded, copy_, first)
    position = torch.arange(math.ceil(wanted * SLOWEST), device=device) * speeds + begin
    backwards = turned < settings.backwards
    position = torch.where(backwards, count - 1 - position, position)
    x = read_at(cache.samples, first, first + count, position)
    if settings.tempo:
        x = torch.where(tempos == 1, x, stretch(x, tempos))
    x = channel(x[:, :wanted], settings.channel)
    heard = torch.arange(wanted, device=device) < counts[:, None]
    # Where the network's frames lie among the teacher's, of which two are mixed.
    frames = torch.arange((wanted - RECEPTIVE) // HOP + 1, device=device)
    place = (begin + factor * (HOP * frames + RECEPTIVE / 2) - TEACHER_CENTER) / TEACHER_HOP
    taught = (place > -1) & (place < teacher_count) & ~backwards
    place = place.clamp(min=0).minimum(teacher_count - 1.0)
    low = place.long()
    high = (low + 1).minimum(teacher_count - 1)
    one, two = cache.teacher[teacher + low].float(), cache.teacher[teacher + high].float()
    frames_taught = (one.lerp(two, (place - low)[..., None]) - cache.mean) / cache.scale
    return Batch(
        normalize(x, heard),
        counts,
        table.labels[chosen],
        table.kinds[chosen],
        frames_taught,
        taught,
    )


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values, or zero where none is."""
    chosen = chosen.float()
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def loss_of(trainee: Trainee, batch: Batch, whiten: Tensor, settings: Settings) -> Tensor:
    """Return the weighted sum of everything that is asked."""
    with torch.autocast(batch.waves.device.type, torch.bfloat16):
        speech, bursts, heard, guess, frames = trainee(batch.waves, batch.counts, settings.mask)
    is_burst = (batch.kinds == 1)[:, None]
    logits = (speech if settings.shared else torch.where(is_burst, bursts, speech)).float()
    surprise = functional.cross_entropy(logits, batch.labels, reduction="none")
    loss: Tensor = mean_where(surprise, batch.kinds < 2)
    if settings.calm:
        answers = logits.log_softmax(1)
        quiet = (batch.kinds == 2)[:, None]
        center = (answers * quiet).sum(0) / quiet.sum().clamp(min=1)
        loss = loss + settings.calm * mean_where((answers - center).square(), quiet.expand(-1, 4))
    if settings.hear:
        target = hearing(batch.waves)
        errors = [mean_where((h.float() - target).square().mean(2), frames) for h in heard]
        loss = loss + settings.hear * torch.stack(errors).mean()
    taught = batch.taught & frames
    error = (guess.float() - batch.teacher) * taught[..., None]
    means = error.sum(1) / taught.sum(1, keepdim=True).clamp(min=1)
    loss = loss + settings.teach * error.square().sum() / taught.sum().clamp(min=1) / WIDTH
    loss += settings.pool * (means @ whiten).square().mean()
    return loss


def learning_rate(progress: float, settings: Settings) -> float:
    """Return one cycle: linear rise over a tenth of the run, then a cosine to nothing."""
    cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, (progress - 0.1) / 0.9)))
    return settings.lr * (min(1.0, progress / 0.1 + 1e-3) if progress < 0.1 else cosine)


def round_weights(model: nn.Module) -> None:
    """Round the weights to 8 significant bits, which halves what they take in a wheel."""
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.bfloat16())


def train(
    trainee: Trainee,
    cache: Cache,
    parts: list[Part],
    settings: Settings,
    folder: Path,
    seconds: float,
) -> tuple[Trainee, int]:
    """Train from the last saved state in folder; returned are the averaged weights and the steps.

    The run ends after its steps, or with its schedule hurried after so many seconds, if not 0.
    """
    device = cache.samples.device
    trainee.to(device).train()
    table = tabulate(cache, settings, device)
    average = copy.deepcopy(trainee).requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainee.parameters() if p.ndim >= 2]},
        {"params": [p for p in trainee.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    saved, first = folder / "state.pt", 0
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        if state["settings"] != dataclasses.asdict(settings):
            raise SystemExit(f"{saved} was made with other settings: remove it to start again")
        trainee.load_state_dict(state["trainee"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    kept: list[Tensor] = list(average.parameters())
    new: list[Tensor] = list(trainee.parameters())
    bar = tqdm(range(first, settings.steps), initial=first, total=settings.steps, mininterval=10)
    start = time.monotonic()
    for step in bar:
        progress = step / settings.steps
        if seconds:
            progress = max(progress, (time.monotonic() - start) / seconds)
            if progress >= 1:
                return average, step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, settings)
        batch = make_batch(cache, table, parts, settings, step)
        loss = loss_of(trainee, batch, cache.whiten, settings)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(new, 1.0)
        optimizer.step()
        decay = min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(kept, new, 1 - decay)
        if (step + 1) % 100 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if (step + 1) % 500 == 0:
            state = {
                "settings": dataclasses.asdict(settings),
                "step": step + 1,
                "trainee": trainee.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)  # the old state or the new, never half of one
    return average, settings.steps


def run(
    name: str,
    settings: Settings,
    cache_folder: Path,
    runs: Path,
    test: tuple[str, int] | None,
    seconds: float,
) -> Path:
    """Train one model and write it, and its logits for the clips left out, to runs/name.

    test: the corpus left out, or "fold" and its number.
    """
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        raise SystemExit(f"{folder} is done: remove it to train again")
    pretraining = name.startswith("pretrain")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    cache = read_cache(cache_folder, device)
    folds = fold_of(cache.clips)
    tests = set()
    if test:
        which, number = test
        tests = {
            index
            for index, clip in enumerate(cache.clips)
            if clip.corpus == which or (which == "fold" and folds[index] == number)
        }
    kept_out = {i for i, clip in enumerate(cache.clips) if clip.corpus in ("emodb", "cremad")}
    torch.manual_seed(settings.seed)
    trainee = Trainee(settings.dropout)
    if settings.pretrained and not pretraining:
        trainee.load_state_dict(load_file(runs / "pretrain" / "model.safetensors"))
    parts = parts_of(cache.clips, kept_out if pretraining else tests, settings)
    start = time.monotonic()
    average, steps = train(trainee, cache, parts, settings, folder, seconds)
    trained = time.monotonic() - start
    report: dict[str, Any] = {
        "settings": dataclasses.asdict(settings), "steps": steps, "seconds": round(trained)
    }  # fmt: skip
    round_weights(average)
    if pretraining:
        save_file(average.state_dict(), folder / "model.safetensors")
    else:
        average.model.to("cpu").save_pretrained(folder)
        EXTRACTOR.save_pretrained(folder)
        average.to(device)
    for corpus in ("emodb", "cremad"):
        chosen = [i for i in sorted(tests) if cache.clips[i].corpus == corpus]
        if chosen:
            clips = [cache.clips[index] for index in chosen]
            logits = logits_of(average, cache, clips)
            write_logits(folder / f"{corpus}.csv", clips, logits)
            report[corpus] = score(np.array([clip.label for clip in clips]), logits.argmax(1))
    (folder / "run.json").write_text(json.dumps(report, indent=1) + "\n")
    return folder


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
    what.add_argument("--prepare", type=Path, metavar="ENCODER", help="Write the cache.")
    what.add_argument("--pretrain", action="store_true", help="Learn to hear.")
    what.add_argument("--fold", type=int, choices=range(FOLDS), help="Leave speakers out.")
    what.add_argument("--without", choices=["emodb", "cremad"], help="Leave a corpus out.")
    what.add_argument("--final", action="store_true", help="Train the shipped weights.")
    parser.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared" / "corpora")
    parser.add_argument("--cache", type=Path, default=HERE / "cache")
    parser.add_argument("--runs", type=Path, default=HERE / "runs")
    parser.add_argument("--name", help="The run's folder, to try settings out.")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="Settings.")
    parser.add_argument("--seconds", type=float, default=0, help="Hurry the schedule to end so.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that prepare.")
    parser.add_argument("--every", type=int, default=1, help="Prepare every so manieth recording.")
    args = parser.parse_args()
    if args.prepare:
        prepare(args.corpora, args.prepare, args.cache, args.workers, args.every)
        return
    settings = parse(Settings(**PRETRAIN) if args.pretrain else Settings(), args.set)
    test, name = None, "pretrain" if args.pretrain else "final"
    if args.fold is not None:
        test, name = ("fold", args.fold), f"fold-{args.fold}"
    elif args.without:
        test, name = (args.without, 0), f"without-{args.without}"
    folder = run(args.name or name, settings, args.cache, args.runs, test, args.seconds)
    if args.final and not args.name:
        for file in ("config.json", "model.safetensors", "preprocessor_config.json"):
            shutil.copy(folder / file, HERE / file)


if __name__ == "__main__":
    main()
