"""Channels: each gets the answer of a file that has it alone; the mean stays what it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from variations import one_at_a_time

import voxmood
from voxmood import AudioError, Model, Prediction, Segment, Stream
from voxmood.audio import AudioReader
from voxmood.audio.channels import Channels
from voxmood.cli import main
from voxmood_export.clips import speech_like

RATE = 16000


@pytest.fixture(scope="module")
def name(bundle: Path) -> str:
    return f"{bundle}@fp32"


@pytest.fixture(scope="module")
def model(name: str) -> Model:
    return voxmood.load(name, threads=1)


def channels_of(seconds: float, count: int, rate: int = RATE) -> np.ndarray:
    return np.stack([speech_like(seconds, rate, seed) for seed in range(count)], axis=1)


def same(one: Prediction | Segment, other: Prediction | Segment) -> bool:
    return dict(one.numbers) == dict(other.numbers)


@pytest.mark.parametrize(
    ("precision", "seconds", "rate"),
    one_at_a_time(["fp32", "int8"], [1.0, 31.0], [16000, 44100]),
)
def test_each_channel_is_labeled_as_if_it_were_alone(
    precision: str, seconds: float, rate: int, bundle: Path
) -> None:
    model = voxmood.load(bundle, precision=precision, threads=1)
    frames = channels_of(seconds, 3, rate)
    answers = model.predict(frames, sampling_rate=rate, channel="each")
    assert [answer.channel for answer in answers] == [1, 2, 3]
    for number, answer in enumerate(answers, 1):
        alone = model.predict(frames[:, number - 1], sampling_rate=rate)
        assert same(answer, alone)
        assert (answer.duration, answer.warnings) == (alone.duration, alone.warnings)
        one = model.predict(frames, sampling_rate=rate, channel=number)
        assert same(one, alone)
        assert one.channel == number
    mean = model.predict(frames.T.mean(axis=0), sampling_rate=rate)
    assert same(model.predict(frames, sampling_rate=rate), mean)
    assert model.predict(frames, sampling_rate=rate).channel is None


def test_batches(model: Model) -> None:
    sources = [channels_of(1.0, 2), channels_of(0.5, 1), channels_of(31.0, 2)]
    batch = model.predict_batch(sources, sampling_rate=RATE, channel="each")
    assert [len(each) for each in batch] == [2, 1, 2]
    for source, answers in zip(sources, batch, strict=True):
        alone = model.predict(source, sampling_rate=RATE, channel="each")
        for one, other in zip(answers, alone, strict=True):
            assert list(one.numbers.values()) == pytest.approx(
                list(other.numbers.values()), abs=1e-5
            )
            assert one.channel == other.channel
    first = model.predict_batch(sources, sampling_rate=RATE, channel=1)
    assert [each.channel for each in first] == [1, 1, 1]


@pytest.mark.parametrize("rate", [16000, 48000])
def test_timeline_and_stream(model: Model, rate: int) -> None:
    frames = channels_of(3.3, 2, rate)
    segments = list(model.timeline(frames, 1.0, 0.5, sampling_rate=rate, channel="each"))
    for number in (1, 2):
        alone = list(model.timeline(frames[:, number - 1], 1.0, 0.5, sampling_rate=rate))
        mine = [segment for segment in segments if segment.channel == number]
        assert [each.start for each in mine] == [each.start for each in alone]
        assert all(same(*pair) for pair in zip(mine, alone, strict=True))
    for size in (1, 777, 50_000, len(frames)):
        stream = Stream(model, rate, 1.0, 0.5, channel="each")
        found = [
            segment
            for start in range(0, len(frames) if size > 1 else 3 * size, size)
            for segment in stream.push(frames[start : start + size])
        ]
        if size > 1:
            assert found + stream.close() == segments
    second = Stream(model, rate, 1.0, 0.5, channel=2)
    got = second.push(frames) + second.close()
    assert got == [segment for segment in segments if segment.channel == 2]


@pytest.mark.parametrize("channel", [0, -1, 65, True, "left", None, 1.0, "1"])
def test_what_is_no_channel(model: Model, channel: Any) -> None:
    frames = channels_of(0.5, 2)
    for call in (model.predict, model.timeline):
        with pytest.raises(AudioError, match="pass mix, each or a number from 1"):
            call(frames, sampling_rate=RATE, channel=channel)
    with pytest.raises(AudioError, match="pass mix, each or a number from 1"):
        Stream(model, RATE, channel=channel)


def test_a_channel_that_is_not_there(model: Model) -> None:
    with pytest.raises(AudioError, match="has 2 channels, and no channel 3"):
        model.predict(channels_of(0.5, 2), sampling_rate=RATE, channel=3)
    with pytest.raises(AudioError, match="has 1 channel, and no channel 2"):
        list(model.timeline(channels_of(0.5, 1), sampling_rate=RATE, channel=2))
    stream = Stream(model, RATE, channel=2)
    with pytest.raises(AudioError, match="no channel 2"):
        stream.push(channels_of(0.5, 1))


def test_a_chunk_with_a_bad_channel_is_ignored(model: Model) -> None:
    frames = channels_of(2.0, 2)
    bad = frames[:RATE].copy()
    bad[5, 1] = np.nan
    stream = Stream(model, RATE, 1.0, 1.0, channel="each")
    segments = stream.push(frames[:RATE])
    with pytest.raises(AudioError, match="NaN"):
        stream.push(bad)
    segments += stream.push(frames[RATE:]) + stream.close()
    assert segments == list(model.timeline(frames, 1.0, 1.0, sampling_rate=RATE, channel="each"))


def test_a_rate_that_changes_is_followed_in_every_channel() -> None:
    def converted(chosen: Any, parts: list[tuple[np.ndarray, int]]) -> list[np.ndarray]:
        channels = Channels("x", parts[0][1], RATE, [chosen])
        blocks = [channels.push(*part) for part in parts] + [channels.close()]
        tracks = [np.concatenate(each) for each in zip(*blocks, strict=True)]
        assert [len(track) for track in tracks] == [channels.samples] * len(tracks)
        return tracks

    parts = [(channels_of(0.5, 2, rate).astype(np.float32), rate) for rate in (8000, 44100)]
    each = converted("each", parts)
    for number in (1, 2):
        alone = [(frames[:, number - 1 : number].copy(), rate) for frames, rate in parts]
        assert np.array_equal(each[number - 1], converted("mix", alone)[0])


def call(kind: str) -> np.ndarray:
    """Returns ten seconds of two channels."""
    random = np.random.default_rng(0)
    one, other = (speech_like(10.0, RATE, seed) for seed in range(2))
    turns = np.arange(len(one)) // (2 * RATE) % 2 == 0
    first, second = np.where(turns, one, 0.0), np.where(turns, 0.0, other)
    noise = random.normal(0, 1e-4, (len(one), 2))
    frames = {
        "turns": [first, second],
        "echo": [first + 0.03 * second, second + 0.03 * first],
        "music": [one, 0.7 * one + 0.3 * other],
        "same": [one, one],
        "one": [first, np.zeros_like(first)],
        "both": [one, other],
        "quiet": [np.zeros_like(one), np.zeros_like(one)],
    }[kind]
    return np.asarray(np.stack(frames, axis=1) + noise, np.float32)


@pytest.mark.parametrize(
    ("kind", "two"),
    [
        ("turns", True),
        ("echo", True),
        ("music", False),
        ("same", False),
        ("one", False),
        ("both", False),
        ("quiet", False),
    ],
)
def test_two_speakers_are_noticed(model: Model, kind: str, two: bool) -> None:
    frames = call(kind)
    warned = [
        any("rarely loud together" in each for each in warnings)
        for warnings in (
            model.predict(frames, sampling_rate=RATE).warnings,
            model.predict(frames, sampling_rate=RATE, channel=1).warnings,
        )
    ]
    assert warned == [two, False]
    stream = Stream(model, RATE, 5.0, 5.0)
    for start in range(0, len(frames), 1234):
        stream.push(frames[start : start + 1234])
    assert any("rarely loud" in each for each in stream.warnings) == two


def test_a_reader_yields_the_mean_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    frames = channels_of(1.0, 2, 44100)
    soundfile.write(path, frames, 44100, subtype="FLOAT")
    mean = np.concatenate(list(AudioReader(path, rate=RATE)))
    both = np.concatenate(list(AudioReader(frames.T.mean(axis=0), rate=RATE, sampling_rate=44100)))
    assert np.array_equal(mean, both)


def test_commands(
    name: str, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "call.wav"
    frames = channels_of(2.0, 2)
    soundfile.write(path, frames, RATE, subtype="FLOAT")
    answers = model.predict(path, channel="each")
    options = ["--model", name, "--channel", "each"]
    assert main(["predict", str(path), "--json", *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["channel"] for row in rows] == [1, 2]
    for row, answer in zip(rows, answers, strict=True):
        assert row["probabilities"] == pytest.approx(answer.probabilities, abs=1e-6)
    assert main(["predict", str(path), *options]) == 0
    said = ("unsure, perhaps " if answers[1].unsure else "") + (answers[1].label or "")
    assert f"{path} [channel 2]: {said} (2.0 s)" in capsys.readouterr().out
    assert main(["predict", str(path), "--json", "--model", name, "--channel", "2"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert "channel" not in row
    assert row["probabilities"] == pytest.approx(answers[1].probabilities, abs=1e-6)
    windows = ["--window", "1", "--hop", "1"]
    assert main(["timeline", str(path), "--csv", *windows, *options]) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["start"], row["channel"]) for row in table] == [
        ("0.0", "1"), ("0.0", "2"), ("1.0", "1"), ("1.0", "2"),
    ]  # fmt: skip
    assert main(["timeline", str(path), *windows, *options]) == 0
    assert "  channel 2:  " in capsys.readouterr().out
    picture = tmp_path / "a.svg"
    assert main(["timeline", str(path), "--plot", str(picture), *options]) == 0
    assert "channel 2" in picture.read_text() or picture.stat().st_size > 1000
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", str(path), "--channel", "left"])
    assert main(["predict", str(path), "--model", name, "--channel", "3"]) == 1
    assert "has 2 channels, and no channel 3" in capsys.readouterr().err


def test_tables_can_be_resumed_at_any_byte(name: str, tmp_path: Path) -> None:
    for letter in "ab":
        soundfile.write(tmp_path / f"{letter}.wav", channels_of(0.5, 2), RATE)
    output = tmp_path / "out.csv"
    settings: dict[str, Any] = {"model": name, "channel": "each", "threads": 1}
    voxmood.batch([tmp_path], output, **settings)
    whole = output.read_bytes()
    assert [row["channel"] for row in csv.DictReader(whole.decode().splitlines())] == [*"1212"]
    for cut in range(whole.index(b"\n") + 1, len(whole), 40):
        output.write_bytes(whole[:cut])
        voxmood.batch([tmp_path], output, resume=True, **settings)
        assert output.read_bytes() == whole
    with pytest.raises(voxmood.OutputError, match="was not made with"):
        voxmood.batch([tmp_path], output, model=name, resume=True)


def test_compare_and_evaluate(name: str, bundle: Path, model: Model, tmp_path: Path) -> None:
    for seed in range(3):
        soundfile.write(tmp_path / f"{seed}.wav", channels_of(0.5, 2), RATE, subtype="FLOAT")
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\n" + "".join(f"{seed}.wav,ang\n" for seed in range(3)))
    compared = voxmood.compare(name, f"{bundle}@int8", manifest=manifest, channel="each")
    assert compared.recordings == 6
    found = voxmood.evaluate(name, manifest=manifest, channel="each")
    labels = [each.label for each in model.predict(tmp_path / "0.wav", channel="each")]
    assert found.recordings == 6
    assert found.accuracy == labels.count("ang") / 2
    one = voxmood.evaluate(name, manifest=manifest, channel=1)
    assert (one.recordings, one.accuracy) == (3, float(labels[0] == "ang"))
