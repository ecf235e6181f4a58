"""Long and live audio: windows, silence, streams, and long predictions."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from functools import partial
from itertools import chain
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from near import LAYER, near
from variations import first_of

import voxmood
from voxmood import AudioError, Model, Segment, Stream
from voxmood.audio.speech import speech_samples
from voxmood.audio.windows import Windows
from voxmood.bundle.description import read_bundle
from voxmood.bundle.locate import shipped_bundle
from voxmood.cli import main
from voxmood.results import NO_SPEECH, UNLIKE

RATE = 16000
FIELDS = ("path", "start", "end", "label", "silent", "warnings", "error")


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return voxmood.load(bundle, threads=1)


def noise(seconds: float, rate: int = RATE, seed: int = 0, channels: int = 1) -> np.ndarray:
    shape = (round(seconds * rate), channels)
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "spans"),
    [
        (10, 5, 5, [(0, 5), (5, 10)]),
        (12.3, 5, 5, [(0, 5), (5, 10), (10, 12.3)]),
        (7, 5, 1, [(0, 5), (1, 6), (2, 7)]),
        (7.5, 5, 1, [(0, 5), (1, 6), (2, 7), (3, 7.5)]),
        (3, 5, 1, [(0, 3)]),
        (11, 2, 5, [(0, 2), (5, 7), (10, 11)]),
        (9, 2, 5, [(0, 2), (5, 7)]),
        (10.02, 5, 5, [(0, 5), (5, 10)]),  # the 20 ms left are less than the model takes
    ],
)
def test_where_windows_lie(
    seconds: float, window: float, hop: float, spans: list[tuple[float, float]]
) -> None:
    bundle = read_bundle(shipped_bundle())
    waveform = noise(seconds)[:, 0]
    for piece in (1600, 70_001, len(waveform)):
        windows = Windows(window, hop, bundle)
        pushed = (windows.push(waveform[at : at + piece]) for at in range(0, len(waveform), piece))
        found = [*chain.from_iterable(pushed), *windows.close()]
        ends = [each.start + len(each.waveform) for each in found]
        assert ends == [each.ready for each in found]
        starts = [each.start for each in found]
        assert [(s / RATE, e / RATE) for s, e in zip(starts, ends, strict=True)] == spans
        for start, end, each in zip(starts, ends, found, strict=True):
            assert np.array_equal(each.waveform, waveform[start:end])


def test_timeline_equals_predictions_of_its_windows(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(9.7, 44100, channels=2), 44100)
    whole, _ = librosa.load(path, sr=RATE, mono=True)
    timeline = model.timeline(path, window=3, hop=2)
    assert timeline.duration == pytest.approx(9.7)
    segments = list(timeline)
    assert [segment.start for segment in segments] == [0, 2, 4, 6, 8]
    assert segments[-1].end == len(whole) / RATE
    for segment in segments:
        part = whole[round(segment.start * RATE) : round(segment.end * RATE)]
        expected = model.predict(part, sampling_rate=RATE)
        assert segment.probabilities == expected.probabilities
        assert segment.label == expected.label
        assert not segment.silent


@pytest.mark.parametrize("rate", first_of([44100, 16000, 8000, 48000], 2))
def test_stream_equals_timeline_to_the_bit(rate: int, model: Model) -> None:
    random = np.random.default_rng(rate)
    sound = noise(3.21, rate, seed=rate, channels=2)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="WAV", subtype="FLOAT")
    expected = list(model.timeline(file.getvalue(), window=1.0, hop=0.7))
    assert len(expected) == 5
    for trial in range(20):
        stream = Stream(model, rate, window=1.0, hop=0.7)
        segments: list[Segment] = []
        longest = int(random.choice([2, 50, 2000, 200_000])) if trial else 1
        at = 0
        while at < len(sound):
            size = int(random.integers(0, longest + 1)) if at > 300 or longest > 50 else 1
            if longest <= 50 and at > 300:
                size *= 40  # tiny ones at the start suffice
            segments += stream.push(sound[at : at + size])
            at += size
        assert segments + stream.close() == expected


def test_stream_takes_pcm_and_mono(model: Model) -> None:
    sound = noise(2.5)[:, 0]
    pcm = (sound * 20000).astype(np.int16)
    expected = list(model.timeline(pcm, 1, 1, sampling_rate=RATE))
    for chunk in (pcm, pcm[:, None], pcm.astype(np.int32) << 16, pcm.astype(np.float64) / 32768):
        stream = Stream(model, RATE, window=1, hop=1)
        assert stream.push(chunk) + stream.close() == expected
        assert stream.close() == []
        with pytest.raises(AudioError, match="closed"):
            stream.push(chunk)


def test_stream_goes_on_after_a_bad_chunk(model: Model) -> None:
    sound = noise(2)[:, 0]
    stream = Stream(model, RATE, window=1, hop=1)
    first = stream.push(sound[:20000])
    for bad in (
        np.full(100, np.nan),
        np.zeros(100, np.uint8),
        np.zeros((2, 2, 2)),
        np.zeros((2, 0)),
        np.zeros(()),
    ):
        with pytest.raises(AudioError):
            stream.push(bad)
    rest = stream.push(sound[20000:]) + stream.close()
    assert first + rest == list(model.timeline(sound, 1, 1, sampling_rate=RATE))


def test_a_stream_that_falls_behind_drops_whole_hops(model: Model) -> None:
    sound = noise(10)[:, 0]
    every = list(model.timeline(sound, 2, 0.5, sampling_rate=RATE))
    stream = Stream(model, RATE, window=2, hop=0.5, newest_only=True)
    segments = []
    for start in range(0, 10, 2):  # what came while the model was busy for 2 s
        segments += stream.push(sound[start * RATE : (start + 2) * RATE])
    assert segments == every[0::4]
    assert stream.dropped == len(every) - len(segments)


def test_a_stream_that_falls_behind_keeps_the_newest_of_each_channel(model: Model) -> None:
    sound = np.stack([noise(4)[:, 0], noise(4)[::-1, 0]], axis=1)
    every = list(model.timeline(sound, 2, 0.5, sampling_rate=RATE, channel="each"))
    stream = Stream(model, RATE, window=2, hop=0.5, channel="each", newest_only=True)
    segments = stream.push(sound[: 2 * RATE]) + stream.push(sound[2 * RATE :])
    assert segments == [each for each in every if each.start in (0, 2)]
    assert [each.channel for each in segments] == [1, 2, 1, 2]
    assert stream.dropped == len(every) - len(segments)


@pytest.mark.parametrize("window", [0, -1, 0.02, 60.1, float("nan"), float("inf")])
def test_windows_that_the_model_does_not_take(window: float, model: Model) -> None:
    with pytest.raises(AudioError, match="a window of"):
        model.timeline(noise(1)[:, 0], window, sampling_rate=RATE)
    with pytest.raises(AudioError, match="a window of"):
        Stream(model, RATE, window=window)


@pytest.mark.parametrize("hop", [0, -1, 1e-9, float("nan"), float("inf")])
def test_hops_that_are_none(hop: float, model: Model) -> None:
    with pytest.raises(AudioError, match="a hop of"):
        model.timeline(noise(1)[:, 0], hop=hop, sampling_rate=RATE)


def test_the_level_gate() -> None:
    time = np.arange(RATE, dtype=np.float32) / RATE
    sine = np.sin(2 * np.pi * 200 * time)
    for level, loud in ((-60.2, False), (-59.8, True)):  # RMS of a sine is 3.01 dB below its peak
        quiet = sine * np.float32(10 ** ((level + 3.01) / 20))
        for offset in (0, 0.5):
            assert speech_samples(quiet + np.float32(offset), RATE) == (RATE if loud else 0)
    half = np.where(time < 0.5, sine, 0).astype(np.float32)
    assert speech_samples(half, RATE) == RATE // 2
    assert speech_samples(sine[:333], RATE) == 333


def test_silence_is_seen(model: Model) -> None:
    sound = noise(9)[:, 0]
    sound[3 * RATE : 6 * RATE] = 0.25  # a constant is silent
    segments = list(model.timeline(sound, 1, 1, sampling_rate=RATE))
    assert [segment.silent for segment in segments] == [False] * 3 + [True] * 3 + [False] * 3
    for seconds in (1, 45):
        for value in (0, 0.25):
            silence = np.full(seconds * RATE, value, np.float32)
            prediction = model.predict(silence, sampling_rate=RATE)
            assert "is silent (never above -60 dBFS)" in prediction.warnings[0]
            assert np.isfinite(prediction.logits).all()


def test_long_recordings_are_combined_by_speech(bundle: Path, model: Model) -> None:
    sound = noise(47.5)[:, 0]
    sound[10 * RATE : 17 * RATE] = 0  # 3 of 10 s are speech
    sound[30 * RATE : 40 * RATE] = 0
    parts = [
        model.predict(sound[at : at + 10 * RATE], sampling_rate=RATE)
        for at in range(0, len(sound), 10 * RATE)
    ]
    weights = np.array([10, 3, 10, 0, 7.5])[:, None]
    long = model.predict(sound, sampling_rate=RATE)
    for name in ("logits", "embedding"):
        values = np.array([getattr(part, name) for part in parts], np.float64)
        mean = (values * weights).sum(axis=0) / weights.sum()
        assert getattr(long, name) == near(mean, LAYER)
    exponents = np.exp(long.logits.astype(np.float64) / model.bundle.temperature)
    assert list(long.numbers.values()) == pytest.approx(exponents / exponents.sum(), abs=1e-6)
    assert long.label == model.labels[int(long.logits.argmax())]
    assert long.duration == 47.5
    assert set(long.warnings) <= {NO_SPEECH, UNLIKE}
    fp32 = voxmood.load(bundle, precision="fp32", threads=1)
    sources = [sound, sound[: 2 * RATE], sound[: 31 * RATE], sound[: 30 * RATE]]
    for one, source in zip(fp32.predict_batch(sources, sampling_rate=RATE), sources, strict=True):
        alone = fp32.predict(source, sampling_rate=RATE)
        assert one.logits == near(alone.logits)
        assert one.duration == len(source) / RATE


def test_what_was_cut_off_says_so(model: Model, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(8), RATE, format="FLAC")
    cut = file.getvalue()[: len(file.getvalue()) // 2]
    assert "cut off" in model.predict(cut).warnings[0]
    timeline = model.timeline(cut, 1, 1)
    assert len(list(timeline)) >= 3
    assert "cut off" in timeline.warnings[0]


def test_too_short_and_empty(model: Model) -> None:
    for samples in (1, 399):
        with pytest.raises(AudioError, match="shorter than"):
            list(model.timeline(noise(1)[:samples, 0], sampling_rate=RATE))
        with pytest.raises(AudioError, match="shorter than"):
            model.predict(noise(1)[:samples, 0], sampling_rate=RATE)
    with pytest.raises(AudioError, match="no samples"):
        list(model.timeline(np.zeros(0), sampling_rate=RATE))


@pytest.mark.linux
def test_memory_does_not_grow_with_length(bundle: Path, tmp_path: Path) -> None:
    """Peak of resident memory in MB, after 40 s and after 240 s, by `timeline` and `predict`."""
    code = r"""
        import re, sys, voxmood
        model = voxmood.load(sys.argv[1], threads=1)
        for path in sys.argv[2:]:
            for _ in model.timeline(path, 5, 60): pass
            model.predict(path)
            with open(path, "rb") as file: model.predict(file)
            print(int(re.findall(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[0]) / 1024)
    """
    paths = []
    for name, seconds in (("short", 40), ("long", 240)):
        paths.append(tmp_path / f"{name}.wav")
        with soundfile.SoundFile(paths[-1], "w", 48000, 2, subtype="PCM_16") as file:
            block = noise(20, 48000, channels=2)
            for _ in range(seconds // 20):
                file.write(block)
    command = [sys.executable, "-c", textwrap.dedent(code), str(bundle), *map(str, paths)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    short, long = map(float, finished.stdout.split())
    assert long - short < 10  # what is decoded is 15 MB at 16 kHz, the file 46 MB


@pytest.mark.thorough
def test_mutated_recordings() -> None:
    fuzz = Path(__file__).with_name("fuzz_audio.py")
    finished = subprocess.run(
        [sys.executable, fuzz, "7", "400"], capture_output=True, text=True, errors="replace"
    )
    assert finished.returncode == 0, f"{finished.stdout[-20:]}: {finished.stderr[-2000:]}"
    report = json.loads(finished.stdout.splitlines()[-1])
    assert set(report) == {"answered", "warned", "refused", "slowest_s", "peak_mb"}
    assert report["answered"] + report["warned"] + report["refused"] == 400


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    sound = noise(8)
    sound[3 * RATE : 5 * RATE] = 0
    soundfile.write(path, sound, RATE)
    return path


def test_command_prints_segments(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = voxmood.load(threads=1)
    expected = list(model.timeline(talk, 1, 1))
    arguments = ["timeline", str(talk), "--window", "1", "--hop", "1", "--threads", "1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[3] == "0:00:03.0 - 0:00:04.0  silence"
    assert lines[0].split()[3] == expected[0].label
    assert lines[8].startswith("8 segments: ")
    assert "silence 25%" in lines[8]
    assert main([*arguments, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    judged = ["unsure", "novelty"]  # by a calibrated bundle
    for row, segment in zip(rows, expected, strict=True):
        assert list(row) == [*FIELDS[:4], "probabilities", *judged, *FIELDS[4:]]
        assert row["path"] == str(talk)
        assert row["start"] == segment.start
        assert row["silent"] == segment.silent
        assert row["probabilities"] == pytest.approx(segment.probabilities, abs=1e-6)
    assert main([*arguments, "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = list(csv.DictReader(lines))
    assert list(table[0]) == [*FIELDS[:4], *model.labels, *judged, *FIELDS[4:]]
    assert (table[3]["start"], table[3]["end"], table[3]["silent"]) == ("3.0", "4.0", "true")
    assert len(table) == 8


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("damage", ["none", "cut", "empty", "gone", "nan"])
def test_command_prints_what_batch_writes(
    talk: Path, capsys: pytest.CaptureFixture[str], form: str, damage: str
) -> None:
    """All of it but warnings, which a command that goes on cannot know from the start."""
    if damage == "cut":
        talk.write_bytes(talk.read_bytes()[:100_000])
    elif damage == "empty":
        talk.write_bytes(b"")
    elif damage == "gone":
        talk = talk.with_name("~gone.wav")
    elif damage == "nan":
        sound = noise(20)
        sound[-1] = np.nan
        soundfile.write(talk, sound, RATE, subtype="FLOAT")
    output = talk.with_name(f"labels.{form}")
    listing = talk.with_name("list.csv")
    listing.write_text(f"path\n{talk.name}\n")
    status = damage in ("empty", "gone", "nan")
    assert main(["batch", str(listing), "--output", str(output), "--timeline"]) == status
    capsys.readouterr()
    assert main(["timeline", str(talk), f"--{form.removesuffix('l')}"]) == status
    printed = capsys.readouterr().out
    read = csv.DictReader if form == "csv" else partial(map, json.loads)
    rows = list(read(printed.splitlines()))
    written = list(read(output.read_text().splitlines()))
    assert list(rows[0]) == list(written[0])
    assert rows[-1]["warnings"] == written[-1]["warnings"]
    assert bool(rows[-1]["warnings"]) == (damage == "cut")
    for row in written:
        row["error"] = row["error"] and row["error"].partition(" [")[0]  # where it is listed
        row["warnings"] = None
    if damage == "nan":  # it was known to be so after some segments
        assert {row["error"] or None for row in rows[:-1]} == {None}
        rows = rows[-1:]
    assert [row | {"warnings": None} for row in rows] == written


def test_command_warns_and_fails(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk.write_bytes(talk.read_bytes()[:100_000])
    assert main(["timeline", str(talk)]) == 0
    assert "talk.wav: warning: cut off" in capsys.readouterr().err
    assert main(["timeline", "gone.wav"]) == 1
    assert capsys.readouterr().err == "voxmood: gone.wav: no such file.\n"
    with pytest.raises(SystemExit):
        main(["timeline", str(talk), "--plot", "picture.txt"])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_command_plots(talk: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    picture = talk.with_name(f"picture.{suffix}")
    arguments = ["timeline", str(talk), "--window", "1", "--plot"]
    assert main([*arguments, str(picture)]) == 0
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert picture.read_bytes().startswith(magic)
    assert sorted(path.name for path in talk.parent.iterdir()) == [picture.name, talk.name]
    assert main([*arguments, str(talk / f"a.{suffix}")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.linux
def test_ctrl_c_leaves_no_traceback_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(noise(20), (15, 1)), RATE)
    command = [sys.executable, "-m", "voxmood", "timeline", str(path), "--json", "--hop", "0.2"]
    for first_line, status in ((True, 130), (False, -signal.SIGINT)):
        picture = tmp_path / "picture.png"
        process = subprocess.Popen(
            [*command, *(["--plot", str(picture)] if first_line else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Tests in the background of a shell ignore it, and so would their children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout is not None
        if first_line:
            process.stdout.readline()
        else:  # while it imports: once it has mapped NumPy
            maps = Path(f"/proc/{process.pid}/maps")
            while "multiarray" not in maps.read_text():
                pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert errors == b""
        assert process.returncode == status
        assert list(tmp_path.iterdir()) == [path]


def test_plot_without_matplotlib(
    talk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "voxmood.plot", raising=False)
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["timeline", str(talk), "--plot", "a.png"]) == 1
    captured = capsys.readouterr()
    assert "voxmood[plot]" in captured.err
    assert captured.out == ""


def test_envelope(talk: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    from voxmood.plot import envelope

    sound = soundfile.read(talk, dtype="float32")[0]
    step, low, high = envelope(talk, RATE)
    assert step == 0.01
    rows = sound.reshape(-1, 160)
    assert np.array_equal(low, rows.min(axis=1))
    assert np.array_equal(high, rows.max(axis=1))


@pytest.mark.parametrize("end", [0.3, 2.0, 4.1, 30.0, 600.0, 4000.0])
def test_marks_of_the_time_axis_have_one_form_and_a_title(end: float) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    from matplotlib.figure import Figure

    from voxmood.plot import mark_time

    axes = Figure(figsize=(12, 3)).subplots()
    axes.set_xlim(0, end)
    mark_time(axes, end)
    marks = [text.get_text() for text in axes.get_xticklabels()]
    assert len({mark.count(".") for mark in marks}) == 1
    assert len(set(marks)) == len(marks) > 1
    assert axes.get_xlabel() == ("time in h:mm:ss" if end >= 3600 else "time in m:ss")


def test_clock() -> None:
    from voxmood.commands.terminal.display import clock

    assert [clock(value) for value in (0, 59.96, 3599.94, 36000)] == [
        "0:00:00.0",
        "0:01:00.0",
        "0:59:59.9",
        "10:00:00.0",
    ]
    assert re.fullmatch(r"\d+:\d\d:\d\d\.\d", clock(1e6))


@pytest.mark.parametrize("output", ["a.png", "./a.png", "link/../a.png", "link.png", "hard.png"])
def test_a_plot_is_never_the_recording(
    talk: Path, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    monkeypatch.chdir(talk.parent)
    talk.rename("a.png")
    Path("folder").mkdir()
    Path("link").symlink_to("folder")
    Path("link.png").symlink_to("a.png")
    os.link("a.png", "hard.png")
    content = Path("a.png").read_bytes()
    assert main(["timeline", "a.png", "--plot", output]) == 1
    assert "is also an input" in capsys.readouterr().err
    assert Path("a.png").read_bytes() == content
