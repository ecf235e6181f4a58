"""Mutated recordings against the shipped model, one after the other, in a process to be limited.

`python fuzz_audio.py SEED COUNT [FIRST]` labels COUNT mutations and prints a JSON object: how many
gave an answer, how many an error of voxmood's own, the slowest and the peak of resident memory.
Before each it prints the number, so that what ended it with another status is known: a crash, a
foreign exception, a hang or too much memory. Mutation number N of a seed is always the same.
"""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import structural_files

import voxmood
from voxmood.results import NO_SPEECH, UNLIKE

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
HANG_SECONDS = 5
MEMORY_BYTES = 200 << 20  # beyond what the process takes before the first mutation
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def originals() -> list[bytes]:
    """Return valid files to start from: each format, mono and stereo, 0.3 and 2 s.

    And of every format that FFmpeg writes the smallest.
    """
    random = np.random.default_rng(0)
    files = []
    for form, subtype in FORMATS:
        for channels in (1, 2):
            for seconds in (0.3, 2.0):
                time_ = np.arange(int(16000 * seconds))[:, None] / 16000
                sound = 0.3 * np.sin(2 * np.pi * 220 * time_ * (1 + np.arange(channels)))
                sound += random.normal(0, 0.02, sound.shape)
                file = io.BytesIO()
                soundfile.write(file, sound, 16000, format=form, subtype=subtype)
                files.append(file.getvalue())
    smallest: dict[str, bytes] = {}
    for valid in structural_files.originals():
        if valid.form.startswith("FFmpeg"):
            known = smallest.setdefault(valid.form, valid.content)
            smallest[valid.form] = min(known, valid.content, key=len)
    return [*files, *smallest.values()]


def mutate(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to four changes, most of them where headers are."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        end = min(len(data), 128) if random.random() < 0.6 else len(data)
        if end < 8:
            break
        at = int(random.integers(0, end))
        kind = int(random.integers(0, 8))
        length = int(random.integers(1, 64))
        if kind == 0:
            data[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1:
            data[at] = int(random.integers(0, 256))
        elif kind == 2:  # a number of 2, 4 or 8 bytes, of either order
            size = int(random.choice([2, 4, 8]))
            number = int(random.choice(EXTREMES)) if size < 8 else 2**63 - 1
            order = "little" if random.random() < 0.5 else "big"
            data[at : at + size] = (number % 256**size).to_bytes(size, order)
        elif kind == 3:
            del data[int(random.integers(0, len(data))) :]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = random.bytes(length)
        elif kind == 6:
            data[at:at] = data[at : at + length] * int(random.integers(1, 20))
        else:
            data[at:] = other[at:]
    return bytes(data)


def mutation(seed: int, number: int, files: list[bytes]) -> bytes:
    """Mutation `number` of a seed."""
    random = np.random.default_rng([seed, number])
    first, second = random.integers(0, len(files), 2)
    return mutate(files[first], files[second], random)


def peak_bytes() -> int:
    """Peak of resident memory; getrusage would begin at what the process that started us has."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def main(seed: int, count: int, first: int = 0) -> None:
    model = voxmood.load(threads=1)
    files = originals()
    outcomes = Counter[str]()
    slowest = 0.0
    before = peak_bytes()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # kills, also inside libsndfile
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutation"
        for number in range(first, first + count):
            print(number, flush=True)
            path.write_bytes(mutation(seed, number, files))
            signal.alarm(HANG_SECONDS)
            begun = time.perf_counter()
            try:
                prediction = model.predict(path)
                assert np.isfinite(prediction.logits).all()
                about_the_file = set(prediction.warnings) - {NO_SPEECH, UNLIKE}
                outcomes["warned" if about_the_file else "answered"] += 1
            except voxmood.VoxmoodError as error:
                outcomes["refused" if "\n" not in str(error) else "refused at length"] += 1
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - begun)
            peak = peak_bytes()
            assert peak < before + MEMORY_BYTES, f"{peak >> 20} MB"
    taken = (peak - before) >> 20
    print(json.dumps(outcomes | {"slowest_s": round(slowest, 3), "peak_mb": taken}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
