"""The network learns, step by step, to make its teacher's states, on speech without any label."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from audio import chance, channel, normalize, read_at, uniform
from corpora import Cache
from network import LAYERS, Student, centered, fit_layers, start_from
from rounding import round_weights
from teacher import LEVEL, Encoder
from torch import Tensor, nn
from tqdm import tqdm


@dataclasses.dataclass(frozen=True)
class Settings:
    """Say how the network learns."""

    seed: int = 1
    steps: int = 2000
    rate: float = 5e-4  # of the copied weights
    fresh: float = 3.0  # times as much for the convolution over time, which starts from nothing
    average: float = 0.98  # decay of the averaged weights, which are the ones that are kept
    bursts: float = 0.25  # share of the batches that are vocal bursts; the others are speech


@dataclasses.dataclass(frozen=True)
class Kind:
    """Crops of one corpus, all of one length."""

    corpus: str
    samples: int  # of a crop
    crops: int
    batch: int
    seed: int


SPEECH = Kind("unlabelled", 40_000, 6000, 40, seed=10)
BURSTS = Kind("emogator", 24_000, 1600, 64, seed=8)
FITTED = 1200  # crops of each kind that the layers are fitted to
PART = 25  # frames over which states are averaged, besides whole crops: half a second
FLOOR = 0.02  # variance that is not told apart from none, to the mean over all directions
FASTEST = 1.1
SAVED = 50  # steps between two saved states


def crops(cache: Cache, kind: Kind, seed: int) -> Iterator[Tensor]:
    """Yield batches of random crops [clips, samples], of zero mean and unit variance.

    They are a little faster or slower, and half of them come through other microphones and rooms.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    needed = math.ceil(kind.samples * FASTEST)
    long = [c for c in cache.clips if c.corpus == kind.corpus and c.count >= needed]
    drawn = rng.choice(len(long), kind.crops)
    for chosen in np.split(drawn, range(kind.batch, kind.crops, kind.batch)):
        clips = [long[index] for index in chosen]
        first = [[c.first + int(rng.integers(c.count - needed + 1))] for c in clips]
        last = torch.tensor([[c.first + c.count] for c in clips])
        speed = uniform(last, -math.log(FASTEST), math.log(FASTEST)).exp()
        position = torch.arange(kind.samples)[None] * speed
        x = read_at(cache.samples, torch.tensor(first), last, position)
        x = torch.where(chance(x, 0.5), channel(x, 0.5), x)
        yield normalize(x, torch.ones_like(x, dtype=torch.bool))


@torch.inference_mode()
def teach(teacher: Encoder, student: Student, cache: Cache, kind: Kind, path: Path) -> Tensor:
    """Return states of crops [crops, 1 + LAYERS, frames, WIDTH], float16, which path then holds.

    First what the student's front end makes, which is done learning, then the teacher's states
    after each layer.
    """
    if not path.exists():
        new = path.with_suffix(".new")
        place, states = 0, None
        bar = tqdm(total=kind.crops, desc=f"the teacher hears {kind.corpus}", mininterval=10)
        for waves in crops(cache, kind, kind.seed):
            taught = [student.features(waves), *teacher(waves * LEVEL, LAYERS)[2::2]]
            batch = torch.stack(taught, 1).half().numpy()
            if states is None:
                shape = (kind.crops, *batch.shape[1:])
                states = np.lib.format.open_memmap(new, "w+", np.float16, shape)
            states[place : place + len(batch)] = batch
            place += len(batch)
            bar.update(len(batch))
        new.replace(path)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """Hold what the student's errors after each layer are measured by."""

    deviations: list[Tensor]  # of the teacher's frames, by channel
    whitening: list[Tensor]  # of the means of its frames over a crop [WIDTH, WIDTH]

    @classmethod
    def of(cls, taught: Tensor) -> Yardstick:
        """Return that of states as `teach` makes them."""
        goals = goals_of(taught)
        return cls([g.std((0, 1)) for g in goals], [whitening(g.mean(1)) for g in goals])


def whitening(means: Tensor) -> Tensor:
    """Return the matrix that gives all directions of means [crops, WIDTH] the same variance.

    Emotions lie in directions of little variance: what is small there is not small for them.
    """
    variances, directions = torch.linalg.eigh(torch.cov(means.T.double()))
    white: Tensor = directions / (variances + FLOOR * variances.mean()).sqrt()
    return white.float()


def goals_of(taught: Tensor) -> list[Tensor]:
    """Return what the student's states after each layer are to be: see `centered`."""
    return centered(list(taught.float().unbind(1)))[1:]


def error(student: Student, taught: Tensor, yardstick: Yardstick) -> Tensor:
    """Return by how much the student's states after its layers miss the teacher's.

    Three parts, added up: that of frames, in each channel, and those of their means over parts of
    a crop and over all of it, in each whitened direction. Emotions are told from means.
    """
    with torch.autocast(taught.device.type, torch.bfloat16):
        states = student.states(taught[:, 0].float())
    given = [state - state.mean(-1, keepdim=True) for state in states[1:-1]]
    given.append(states[-1])
    total = torch.zeros((), device=taught.device)
    for state, goal, deviation, white in zip(
        given, goals_of(taught), yardstick.deviations, yardstick.whitening, strict=True
    ):
        missed = state.float() - goal
        parts = missed.unfold(1, PART, PART).mean(3)
        for part in (missed / deviation, parts @ white, missed.mean(1) @ white):
            total = total + part.square().mean()
    return total


def rate(step: int, settings: Settings) -> float:
    """Return the learning rate: a linear rise over 30 steps, then a cosine to nothing."""
    left = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.rate * min(1.0, (step + 1) / 30) * left


def distil(source: Path, cache: Cache, runs: Path, settings: Settings) -> None:
    """Write the network, without its classifier, to runs/network.pt.

    Continues where its last saved state stands. A step's random numbers depend on the seed and the
    step alone, so an interrupted run ends as an uninterrupted one does.
    """
    runs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    teacher, student = Encoder(source), Student()
    waves = next(crops(cache, SPEECH, settings.seed))
    start_from(teacher, student, waves)
    # The front end is done: what rounding does to it, the layers after it learn to live with. Its
    # first convolution is one of the few layers that int8 leaves in float.
    network = student.model.wav2vec2
    for part in (*network.feature_extractor.conv_layers[1:], network.feature_projection):
        round_weights(student, part, waves)
    taught = [
        teach(teacher, student, cache, kind, runs / f"{kind.corpus}.npy")
        for kind in (SPEECH, BURSTS)
    ]
    encoder = network.encoder
    fresh = list(encoder.pos_conv_embed.parameters())
    copied = [p for part in (encoder.layers, encoder.layer_norm) for p in part.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": fresh}, {"params": copied}], betas=(0.9, 0.98), weight_decay=0.0
    )
    saved = runs / "network.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        if state["settings"] != dataclasses.asdict(settings):
            raise SystemExit(f"{saved} was made with other settings: remove it to start again")
        student.load_state_dict(state["student"])
        average = copy.deepcopy(student)
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    else:
        fit_layers(teacher, student, [b for t in taught for b in torch.split(t[:FITTED], 40)])
        average, done = copy.deepcopy(student), 0
    yardsticks = [Yardstick.of(part[::3]) for part in taught]
    for step in tqdm(range(done, settings.steps), "learning", settings.steps, initial=done):
        rng = np.random.default_rng((settings.seed, step))
        which = int(rng.random() < settings.bursts)
        kind = (SPEECH, BURSTS)[which]
        drawn = np.sort(rng.choice(kind.crops, kind.batch, replace=False))
        for group, factor in zip(optimizer.param_groups, (settings.fresh, 1.0), strict=True):
            group["lr"] = factor * rate(step, settings)
        optimizer.zero_grad()
        torch.autograd.backward(error(student, taught[which][drawn], yardsticks[which]))
        nn.utils.clip_grad_norm_(fresh + copied, 2.0)
        optimizer.step()
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, now in zip(average.parameters(), student.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        if (step + 1) % SAVED == 0 or step + 1 == settings.steps:
            state = {
                "settings": dataclasses.asdict(settings),
                "step": step + 1,
                "student": student.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)  # the old state or the new, never half of one
