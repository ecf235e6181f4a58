"""The recordings as training wants them: decoded, coded, heard by the teacher, in a few files."""

from __future__ import annotations

import csv
import dataclasses
import io
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from audio import RATE
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

Samples = NDArray[np.float32]

LABELS = ("neu", "hap", "ang", "sad")
CORPORA = ("emodb", "cremad", "emogator", "unlabelled")
LONGEST = 16  # seconds; a longer recording becomes several clips
LEVEL = 0.05  # RMS at which the teacher hears every clip
WIDTH = 288  # numbers in a frame of the teacher
VOTES = dict(zip("NHAS", range(4), strict=True))  # the crowd's letters, as indices of LABELS


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording, or a part of a long one, and where the arrays of the cache hold it."""

    corpus: str
    path: str
    label: int  # index of LABELS, -1 where there is none
    vote: int  # what the crowd heard in the voice alone: likewise, -1 where it is none of the four
    speaker: str
    group: str  # what it may be reported by: language, sex and intensity
    first: int  # in samples
    coded: int  # likewise, of the copy that went through a codec; first where there is none
    count: int
    teacher: int  # in teacher frames
    teacher_count: int


@dataclasses.dataclass(frozen=True)
class Cache:
    """Everything that was prepared, on one device."""

    clips: list[Clip]
    samples: Tensor  # int16 [samples]
    teacher: Tensor  # float16 [teacher frames, WIDTH]
    mean: Tensor  # of the teacher's numbers [WIDTH]
    scale: Tensor  # their standard deviation [WIDTH]
    whiten: Tensor  # brings means of whole clips to unit variance in every direction [WIDTH, WIDTH]


def coded(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return what is left of a recording after a random one of Opus, GSM 06.10 and G.711."""
    kind = rng.choice(["OPUS", "OPUS", "GSM610", "ULAW", "ALAW"])
    rate = RATE if kind == "OPUS" else 8_000
    sent = samples * (0.5 / (np.abs(samples).max() + 1e-6))
    file = io.BytesIO()
    options: dict[str, Any] = {"format": "WAV"}
    if kind == "OPUS":  # about 6 to 25 kbit/s
        options = {"format": "OGG", "compression_level": float(rng.uniform(0.92, 1))}
    soundfile.write(file, soxr.resample(sent, RATE, rate), rate, subtype=kind, **options)
    file.seek(0)
    heard, heard_rate = soundfile.read(file, dtype="float32")
    result: Samples = soxr.resample(heard, heard_rate, RATE)[: len(samples)].astype(np.float32)
    return np.pad(result, (0, len(samples) - len(result)))


class Teacher:
    """The encoder of Moonshine tiny: 16 kHz speech in, WIDTH numbers every 384 samples out."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, samples: Samples) -> NDArray[np.float16]:
        """Return its last hidden state [frames, WIDTH]."""
        level = np.sqrt(np.mean(samples**2)) + 1e-5
        wave = np.pad(samples * np.float32(LEVEL / level), (0, max(0, 1600 - len(samples))))[None]
        feeds = {"input_values": wave, "attention_mask": np.ones(wave.shape, np.int64)}
        frames: NDArray[np.float16] = self.session.run(None, feeds)[0][0].astype(np.float16)
        return frames


_teacher: Teacher | None = None  # of this worker process


def _start(encoder: Path) -> None:
    global _teacher
    _teacher = Teacher(encoder)


def _work(
    task: tuple[int, Path, bool],
) -> list[tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float16]]]:
    """Return (samples, coded samples, teacher frames) of each part of a recording."""
    seed, path, with_copy = task
    assert _teacher is not None
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected {RATE} Hz mono")
    parts = []
    for part in np.array_split(samples, -(-len(samples) // (LONGEST * RATE))):
        copy = coded(part, np.random.default_rng(seed)) if with_copy else part[:0]
        part, copy = (
            (np.clip(wave / max(1, np.abs(part).max()), -1, 1) * 32767).astype(np.int16)
            for wave in (part, copy)
        )
        parts.append((part, copy, _teacher(part.astype(np.float32) / 32767)))
    return parts


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a corpus' manifest.csv."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def describe(corpus: str, row: dict[str, str]) -> dict[str, Any]:
    """Return what a row of a manifest says of a clip."""
    language = row.get("language") or {"emodb": "de"}.get(corpus, "none")
    votes = row.get("voice_vote", "")
    return {
        "corpus": corpus,
        "path": row["path"],
        "label": LABELS.index(row["label"]) if row.get("label") else -1,
        "vote": VOTES.get(votes, -1),
        "speaker": f"{corpus}-{row['speaker']}",
        "group": f"{language} {row.get('sex', '')} {row.get('level', '')}",
    }


def prepare(
    corpora: Path, encoder: Path, cache: Path, workers: int, every: int = 1, only: str = ""
) -> None:
    """Write the cache: samples, teacher frames, and the list of clips.

    Args:
        corpora: The folder that holds CORPORA.
        encoder: Moonshine's encoder_model.ort.
        cache: The folder to write; it is complete when it has clips.csv.
        workers: How many processes decode and listen.
        every: Takes every so manieth recording, to try things out.
        only: Names the one corpus to take, to try things out.
    """
    cache.mkdir(parents=True, exist_ok=True)
    rows = [
        (corpus, row)
        for corpus in CORPORA
        if not only or corpus == only
        for row in read_manifest(corpora / corpus)[::every]
    ]
    tasks = [
        (seed, corpora / corpus / row["path"], corpus != "unlabelled")
        for seed, (corpus, row) in enumerate(rows)
    ]
    clips: list[Clip] = []
    place = heard = 0
    with (
        (cache / "samples.i16").open("wb") as samples,
        (cache / "teacher.f16").open("wb") as teacher,
        multiprocessing.get_context("fork").Pool(workers, _start, (encoder,)) as pool,
    ):
        results = pool.imap(_work, tasks, chunksize=16)
        for (corpus, row), parts in zip(
            tqdm(rows, "preparing", mininterval=5), results, strict=True
        ):
            for wave, copy, frames in parts:
                clips.append(
                    Clip(
                        **describe(corpus, row),
                        first=place,
                        coded=place + len(wave) if len(copy) else place,
                        count=len(wave),
                        teacher=heard,
                        teacher_count=len(frames),
                    )
                )
                samples.write(wave.tobytes() + copy.tobytes())
                teacher.write(frames.tobytes())
                place += len(wave) + len(copy)
                heard += len(frames)
    every_frame = np.fromfile(cache / "teacher.f16", np.float16).reshape(-1, WIDTH)
    mean, scale, whiten = measure(every_frame, clips)
    np.savez(cache / "scale.npz", mean=mean, scale=scale, whiten=whiten)
    with (cache / "clips.new").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Clip)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(clip) for clip in clips)
    (cache / "clips.new").replace(cache / "clips.csv")


def measure(frames: NDArray[np.float16], clips: list[Clip]) -> tuple[NDArray[np.float32], ...]:
    """Return the fields mean, scale and whiten of Cache.

    They come from what has no emotion labels of speech, so that they say nothing of any test.
    """
    chosen = [clip for clip in clips if clip.corpus not in ("emodb", "cremad")] or clips
    parts = [frames[c.teacher : c.teacher + c.teacher_count].astype(np.float32) for c in chosen]
    means = np.stack([part.mean(0) for part in parts])
    weights = np.array([len(part) for part in parts], np.float32)[:, None]
    squares = np.stack([(part**2).mean(0) for part in parts])
    mean = (means * weights).sum(0) / weights.sum()
    scale = np.sqrt((squares * weights).sum(0) / weights.sum() - mean**2 + 1e-6)
    values, vectors = np.linalg.eigh(np.cov((means - mean) / scale, rowvar=False))
    # Directions that hardly vary are noise: they are not raised to the height of the others.
    whiten = vectors / np.sqrt(values.clip(0) + 0.05 * values.mean()) @ vectors.T
    return mean, scale, whiten.astype(np.float32)


def read_clips(cache: Path) -> Iterator[Clip]:
    """Yield the clips that a cache lists."""
    kinds = {
        field.name: {"int": int}.get(str(field.type), str) for field in dataclasses.fields(Clip)
    }
    with (cache / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            values: dict[str, Any] = {name: kinds[name](value) for name, value in row.items()}
            yield Clip(**values)


def read_cache(cache: Path, device: torch.device) -> Cache:
    """Read the cache onto a device; on a CPU its big arrays stay in their files."""

    def array(name: str, kind: type) -> Tensor:
        path = cache / name
        size = path.stat().st_size // np.dtype(kind).itemsize
        return torch.from_numpy(np.memmap(path, kind, "c", shape=(size,))).to(device)

    scale = np.load(cache / "scale.npz")
    return Cache(
        list(read_clips(cache)),
        array("samples.i16", np.int16),
        array("teacher.f16", np.float16).view(-1, WIDTH),
        *(torch.from_numpy(scale[name]).to(device) for name in ("mean", "scale", "whiten")),
    )
