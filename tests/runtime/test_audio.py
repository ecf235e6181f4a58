"""Decoding against librosa, and what bad audio gets."""

from __future__ import annotations

import io
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from voxmood import AudioError, MissingFileError
from voxmood.audio import AudioSource, Waveform, read_waveform

RATE = 16000


def read(source: AudioSource, sampling_rate: int | None = None) -> Waveform:
    return read_waveform(source, rate=RATE, max_seconds=60, sampling_rate=sampling_rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 4097, 70001])
def test_equals_librosa_to_the_bit(tmp_path: Path, rate: int, channels: int, frames: int) -> None:
    path = tmp_path / "a.wav"
    samples = np.random.default_rng(rate + channels).uniform(-1, 1, (frames, channels))
    soundfile.write(path, samples, rate, subtype="PCM_16")
    expected, _ = librosa.load(path, sr=RATE, mono=True)
    assert np.array_equal(read(path), expected)


def test_equals_librosa_on_recordings(emodb: list[Path], tmp_path: Path) -> None:
    for path in emodb:
        for rate in (RATE, 44100, 48000):
            source = path
            if rate != RATE:
                source = tmp_path / "resampled.wav"
                sound = librosa.resample(soundfile.read(path)[0], orig_sr=RATE, target_sr=rate)
                soundfile.write(source, np.stack([sound, 0.5 * sound], axis=1), rate)
            assert np.array_equal(read(source), librosa.load(source, sr=RATE, mono=True)[0])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats_and_kinds_of_source_agree(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20000), RATE)
    expected = read(path)
    assert np.array_equal(read(str(path)), expected)
    assert np.array_equal(read(path.read_bytes()), expected)
    with path.open("rb") as file:
        assert np.array_equal(read(file), expected)
    assert np.array_equal(read(expected, RATE), expected)


def test_integer_arrays_are_pcm() -> None:
    pcm = np.array([-32768, 0, 16384], np.int16)
    assert read(pcm, RATE).tolist() == [-1.0, 0.0, 0.5]
    assert read(pcm.astype(np.int32) << 16, RATE).tolist() == [-1.0, 0.0, 0.5]


def wav(samples: np.ndarray, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


BAD_SOURCES: dict[str, tuple[AudioSource, str]] = {
    "empty": (b"", "is empty"),
    "header only": (wav(np.zeros(0)), "holds no samples"),
    "not audio": (b"this is text" * 100, "cannot be read as audio"),
    "NaN": (wav(np.array([0.0, np.nan])), "NaN or infinite"),
    "infinity": (wav(np.array([0.0, -np.inf])), "NaN or infinite"),
    "too long": (wav(np.zeros(61 * RATE), "PCM_16"), "longer than the 60 s"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_audio_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, message = BAD_SOURCES[case]
    path = tmp_path / "bad.wav"
    path.write_bytes(content)  # type: ignore[arg-type]
    for source in (path, content):
        with pytest.raises(AudioError, match=message) as caught:
            read(source)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(AudioError, match=r"bad\.wav"):
        read(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"gone\.wav") as caught:
        read(tmp_path / "gone.wav")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(AudioError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros(1000), None, "pass sampling_rate="),
        (np.zeros(1000), 0, "not one of speech"),
        (np.zeros((2, 1000)), RATE, "2 dimensions"),
        (np.zeros(1000, np.uint8), RATE, "of type uint8"),
        (np.zeros(0), RATE, "no samples"),
        (np.full(1000, np.nan), RATE, "NaN"),
        (np.zeros(61 * RATE), RATE, "longer than"),
    ],
)
def test_bad_arrays(array: np.ndarray, rate: int | None, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        read(array, rate)


def test_a_file_brings_its_own_rate() -> None:
    with pytest.raises(AudioError, match="leave out sampling_rate"):
        read(wav(np.zeros(1000)), 8000)
