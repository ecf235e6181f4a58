"""The recordings as training wants them: decoded, in two files."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from audio import RATE
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

LABELS = ("neu", "hap", "ang", "sad")
CORPORA = ("emodb", "cremad", "emogator", "unlabelled")
LONGEST = 16  # seconds; a longer recording becomes several clips


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording, or a part of a long one, and where the arrays of the cache hold it."""

    corpus: str
    path: str
    label: int  # index of LABELS, -1 where there is none
    speaker: str
    group: str  # what it may be reported by: language, sex and intensity
    first: int  # in samples
    count: int


@dataclasses.dataclass(frozen=True)
class Cache:
    """Everything that was prepared, on one device."""

    clips: list[Clip]
    samples: Tensor  # int16 [samples]


def decoded(path: Path) -> list[NDArray[np.int16]]:
    """Return the samples of each part of a recording."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected {RATE} Hz mono")
    samples = np.clip(samples / max(1, np.abs(samples).max()), -1, 1) * 32767
    return np.array_split(samples.astype(np.int16), -(-len(samples) // (LONGEST * RATE)))


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a corpus' manifest.csv."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def describe(corpus: str, row: dict[str, str]) -> dict[str, Any]:
    """Return what a row of a manifest says of a clip."""
    language = row.get("language") or {"emodb": "de"}.get(corpus, "none")
    return {
        "corpus": corpus,
        "path": row["path"],
        "label": LABELS.index(row["label"]) if row.get("label") else -1,
        "speaker": f"{corpus}-{row['speaker']}",
        "group": f"{language} {row.get('sex', '')} {row.get('level', '')}",
    }


def prepare(corpora: Path, cache: Path, workers: int) -> None:
    """Write the cache: samples and the list of clips.

    Args:
        corpora: The folder that holds CORPORA.
        cache: The folder to write; it is complete when it has clips.csv.
        workers: How many processes decode.
    """
    cache.mkdir(parents=True, exist_ok=True)
    rows = [(corpus, row) for corpus in CORPORA for row in read_manifest(corpora / corpus)]
    paths = [corpora / corpus / row["path"] for corpus, row in rows]
    clips: list[Clip] = []
    place = 0
    with (
        (cache / "samples.i16").open("wb") as samples,
        multiprocessing.get_context("fork").Pool(workers) as pool,
    ):
        results = pool.imap(decoded, paths, chunksize=16)
        for (corpus, row), parts in zip(
            tqdm(rows, "preparing", mininterval=5), results, strict=True
        ):
            for wave in parts:
                clips.append(
                    Clip(
                        **describe(corpus, row),
                        first=place,
                        count=len(wave),
                    )
                )
                samples.write(wave.tobytes())
                place += len(wave)
    with (cache / "clips.new").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Clip)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(clip) for clip in clips)
    (cache / "clips.new").replace(cache / "clips.csv")


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
    """Read the cache onto a device; on a CPU the samples stay in their file."""
    path = cache / "samples.i16"
    samples = np.memmap(path, np.int16, "c", shape=(path.stat().st_size // 2,))
    return Cache(list(read_clips(cache)), torch.from_numpy(samples).to(device))
