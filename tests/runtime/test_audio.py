"""Decoding against librosa, and what bad audio gets."""

from __future__ import annotations

import io
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from variations import first_of

from voxmood import AudioError, MissingFileError
from voxmood.audio import AudioReader, AudioSource, Waveform, read_waveform

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


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", "au"])
@pytest.mark.parametrize("rate", first_of([48000, 16000, 8000]))
def test_many_blocks_equal_librosa_in_every_format(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"a.{suffix}"
    samples = np.random.default_rng(rate).uniform(-0.3, 0.3, (200_000, 2)).cumsum(axis=0)
    form = {"opus": "OGG"}.get(suffix, suffix.upper())
    subtype = "OPUS" if suffix == "opus" else None
    soundfile.write(path, samples / abs(samples).max(), rate, format=form, subtype=subtype)
    assert np.array_equal(read(path), librosa.load(path, sr=RATE, mono=True)[0])


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


BAD_SOURCES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "header only": (wav(np.zeros(0)), "has no samples"),
    "not audio": (b"this is text" * 100, "is a text file"),
    "NaN": (wav(np.array([0.0, np.nan])), "NaN or infinite"),
    "infinity": (wav(np.array([0.0, -np.inf])), "NaN or infinite"),
    "too long": (wav(np.zeros(61 * RATE), "PCM_16"), "longer than the 60 s"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_audio_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, message = BAD_SOURCES[case]
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
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
        (np.zeros(1000), 0, "not one for speech"),
        (np.zeros((1, 2, 1000)), RATE, "3 dimensions"),
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
    with pytest.raises(AudioError, match="states its own rate"):
        read(wav(np.zeros(1000)), 8000)


def warnings_of(source: AudioSource, sampling_rate: int | None = None) -> tuple[str, ...]:
    recording = AudioReader(source, rate=RATE, sampling_rate=sampling_rate)
    for _ in recording:
        pass
    return recording.warnings


def encoded(form: str, subtype: str | None = None, seconds: float = 6.0) -> bytes:
    time = np.arange(int(seconds * RATE)) / RATE
    samples = 0.2 * np.sin(2 * np.pi * 200 * time) + np.random.default_rng(0).normal(
        0, 0.02, len(time)
    )
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=form, subtype=subtype)
    return file.getvalue()


CUTTABLE = [
    ("WAV", "PCM_16"),
    ("WAV", "IMA_ADPCM"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("form", "subtype"), CUTTABLE)
def test_what_is_cut_off_is_read_with_a_warning(form: str, subtype: str) -> None:
    content = encoded(form, subtype)
    assert warnings_of(content) == ()
    whole = read(content)
    for share in (0.95, 0.5):
        cut = content[: int(share * len(content))]
        (warning,) = warnings_of(cut)
        assert warning.startswith("cut off")
        part = read(cut)
        assert share - 0.2 < len(part) / len(whole) < share + 0.05
        same = len(part) - 2000  # a codec's last frame may lack its overlap
        assert np.array_equal(part[:same], whole[:same])


def test_a_length_that_is_unknown_or_guessed_is_no_cut() -> None:
    piped = bytearray(encoded("WAV"))
    piped[4:8] = piped[40:44] = b"\xff" * 4  # as ffmpeg writes to a pipe
    assert warnings_of(bytes(piped)) == ()
    assert np.array_equal(read(bytes(piped)), read(encoded("WAV")))
    mp3 = encoded("MP3")
    without_length = mp3[mp3.index(mp3[:2], 4) :]  # less the frame that tells it
    assert b"Info" not in without_length
    assert b"Xing" not in without_length
    assert warnings_of(without_length) == ()


def test_a_file_damaged_in_the_middle() -> None:
    content = bytearray(encoded("FLAC"))
    middle = len(content) // 2
    content[middle : middle + 5000] = bytes(5000)
    part, whole = read(bytes(content)), read(encoded("FLAC"))
    assert RATE < len(part) < len(whole)
    assert np.array_equal(part, whole[: len(part)])
    assert "cut off or damaged" in warnings_of(bytes(content))[0]


def header_says(channels: int = 1, rate: int = RATE) -> bytes:
    content = bytearray(wav(np.zeros(RATE), "PCM_16"))
    content[22:24] = channels.to_bytes(2, "little")
    content[24:28] = rate.to_bytes(4, "little")
    content[32:34] = (2 * channels).to_bytes(2, "little")
    return bytes(content)


def test_absurd_headers() -> None:
    for channels in (65, 1024):
        with pytest.raises(AudioError, match=f"{channels} channels"):
            read(header_says(channels=channels))
    for rate in (1, 999, 768_001, 2**31 - 1):
        with pytest.raises(AudioError, match="not one for speech"):
            read(header_says(rate=rate))
    assert len(read(header_says(channels=64))) == RATE // 64
    flac = bytearray(encoded("FLAC"))
    flac[21] |= 0x0F  # 36 bits of length
    flac[22:26] = b"\xff" * 4
    assert AudioReader(bytes(flac), rate=RATE).duration == (2**36 - 1) / RATE
    assert len(read(bytes(flac))) == 6 * RATE
    assert "cut off" in warnings_of(bytes(flac))[0]


def test_unusual_samples() -> None:
    (sine,) = [np.sin(np.arange(RATE) * 0.1).astype(np.float32)]
    assert warnings_of(1.5 * sine, RATE) == ()
    assert "peaks at 3" in warnings_of(3 * sine, RATE)[0]
    assert np.array_equal(read(3 * sine, RATE), 3 * sine)
    with pytest.raises(AudioError, match="is not audio; 1 is full scale"):
        read(1e10 * sine, RATE)
    with pytest.raises(AudioError, match="infinite"):
        read(1e300 * sine.astype(np.float64), RATE)
    for other, expected in ((-sine, 1), (-0.9 * sine, 1), (0 * sine, 0), (sine, 0)):
        found = warnings_of(wav(np.stack([sine, other], axis=1)))
        assert len(found) == expected
        assert all("channels cancel" in warning for warning in found)


@pytest.mark.linux
def test_odd_names_and_no_open_files(tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\n.wav")
    Path(name).write_bytes(wav(np.zeros(1000)))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert len(read(name)) == 1000
    for content in (b"", b"RIFF" * 10, header_says(rate=1), wav(np.array([np.nan]))):
        Path(name).write_bytes(content)
        with pytest.raises(AudioError):
            read(name)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
