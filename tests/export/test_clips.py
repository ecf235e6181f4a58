"""The clips that int8 is calibrated on, and those that models are compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from variations import first_of

import voxmood
from voxmood.audio import Waveform
from voxmood.cli import main
from voxmood.errors import AudioError
from voxmood_export.clips import (
    CALIBRATION_RECORDINGS,
    CALIBRATION_SECONDS,
    CALIBRATION_SENTENCES,
    MAX_SECONDS,
    SPEECH,
    recorded_clips,
    speech_like,
    synthetic_clips,
)

RATE = 16000


def write(folder: Path, name: str, waveform: Waveform) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, waveform, RATE, subtype="FLOAT")
    return folder / name


def folder_of(folder: Path, count: int, seconds: float = 1.0) -> Path:
    for seed in range(count):
        write(folder, f"{seed:03}.wav", speech_like(seconds, RATE, seed))
    return folder


def noise(seconds: float, seed: int) -> Waveform:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal(round(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_synthetic_speech_is_split_and_small(rate: int) -> None:
    clips = synthetic_clips(rate)
    assert len(clips.calibration) == CALIBRATION_SENTENCES
    assert len(clips.waveforms) == 8
    assert sum(path.stat().st_size for path in SPEECH.iterdir()) < 1_000_000
    for waveform in clips.calibration + clips.waveforms:
        assert waveform.dtype == np.float32
        assert 0.5 * rate < len(waveform) < 8 * rate
        assert 0.01 < np.abs(waveform).max() <= 1
    assert not any(
        len(one) == len(other) and np.array_equal(one, other)
        for one in clips.calibration
        for other in clips.waveforms
    )


@pytest.mark.parametrize(
    ("count", "limit", "compared", "own"),
    [
        (1, 20, 1, 0),
        (2, 20, 1, 1),
        (3, 20, 2, 1),
        (20, 20, 10, 10),
        (31, 20, 16, 15),
        (36, 20, 20, 16),
        (50, 20, 20, 16),
        (50, 5, 5, 16),
        (4, 1, 1, 3),
    ],
)
def test_recordings_are_split(
    tmp_path: Path, count: int, limit: int, compared: int, own: int
) -> None:
    clips = recorded_clips(folder_of(tmp_path / "own", count, 0.3), RATE, limit)
    assert len(clips.waveforms) == compared
    assert len(clips.calibration) == own + CALIBRATION_SENTENCES
    assert own <= CALIBRATION_RECORDINGS
    everything = [waveform.tobytes() for waveform in clips.waveforms + clips.calibration]
    assert len(set(everything)) == len(everything)
    several = "recordings" if compared > 1 else "recording"
    assert clips.description == f"{compared} {several} of the folder own"
    synthetic = f"{CALIBRATION_SENTENCES} sentences of synthetic speech"
    several = "recordings" if own > 1 else "recording"
    other = f"{own} other {several} of the folder own and " if own else ""
    assert clips.tuned_on == other + synthetic
    assert clips.left_out == ()


def test_long_recordings_are_cut(tmp_path: Path) -> None:
    for seed in range(10):
        second = speech_like(1.0, RATE, seed)
        write(tmp_path / "long", f"{seed}.wav", np.tile(second, round(MAX_SECONDS) + 1))
    clips = recorded_clips(tmp_path / "long", RATE, 2)
    assert [len(waveform) for waveform in clips.waveforms] == [MAX_SECONDS * RATE] * 2
    own = clips.calibration[:-CALIBRATION_SENTENCES]
    assert sum(map(len, own)) / RATE <= CALIBRATION_SECONDS + MAX_SECONDS


def test_silence_and_noise_do_not_calibrate(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mixed", 4, 2.0)
    for seed in range(4):
        write(folder, f"n{seed}.wav", noise(2.0, seed))
        write(folder, f"s{seed}.wav", np.zeros(2 * RATE, np.float32))
    clips = recorded_clips(folder, RATE, 1)
    assert len(clips.calibration) - CALIBRATION_SENTENCES in (3, 4)
    (reason,) = clips.left_out
    assert "silence or noise alone" in reason
    for waveform in clips.calibration:
        assert np.abs(waveform).max() > 0


@pytest.mark.parametrize("ratio", [10, 40])
def test_noisy_speech_calibrates(tmp_path: Path, ratio: float) -> None:
    for seed in range(2):
        speech = speech_like(3.0, RATE, seed)
        around = noise(3.0, seed)
        scale = np.sqrt((speech**2).mean() / (around**2).mean()) * 10 ** (-ratio / 20)
        write(tmp_path, f"{seed}.wav", (speech + scale * around).astype(np.float32))
    clips = recorded_clips(tmp_path, RATE, 1)
    assert len(clips.calibration) == 1 + CALIBRATION_SENTENCES


def test_unreadable_recordings_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own", 3)
    (folder / "broken.wav").write_bytes(b"RIFF, but nothing else")
    clips = recorded_clips(folder, RATE, 20)
    assert len(clips.waveforms) == 2
    (reason,) = clips.left_out
    assert "broken.wav" in reason
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "only.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError, match=r"no recording can be read.*only\.wav"):
        recorded_clips(tmp_path / "bad", RATE, 20)


@pytest.mark.parametrize("kind", first_of(["silence", "second", "one", "noise"]))
def test_poor_recordings_export_as_well_as_none(
    checkpoint: Path, bundle: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Int8 of poor recordings is as close to fp32 as without any, on speech that neither heard."""
    folder = tmp_path / "own"
    if kind == "one":
        write(folder, "a.wav", speech_like(3.0, RATE, 5))
    for seed in range(4):
        if kind == "silence":
            write(folder, f"{seed}.wav", np.zeros(RATE, np.float32))
        elif kind == "noise":
            write(folder, f"{seed}.wav", noise(1.0, seed))
        elif kind == "second":
            write(folder, f"{seed}.wav", speech_like(0.25, RATE, seed))
    with_own = tmp_path / "with"
    assert main(["export", str(checkpoint), str(with_own), "--audio", str(folder)]) == 0
    output = capsys.readouterr()
    assert "tuned on" in output.out
    assert ("silence or noise alone" in output.err) == (kind in ("silence", "noise"))
    heard = [speech_like(2.0, RATE, seed) for seed in range(50, 56)]
    errors = []
    for each in (with_own, bundle):
        exact, int8 = (voxmood.load(each, precision=name) for name in ("fp32", "int8"))
        rows = [
            exact.predict(clip, sampling_rate=RATE).logits
            - int8.predict(clip, sampling_rate=RATE).logits
            for clip in heard
        ]
        errors.append(float(np.square(rows).mean()))
    assert errors[0] <= 1.3 * errors[1]  # 1 dB
