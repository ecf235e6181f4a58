"""What only FFmpeg reads, and what is said where PyAV is not installed."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile

import voxmood
from voxmood import AudioError
from voxmood.audio import AudioReader, Waveform

RATE = 16000


def read(source: bytes | Path) -> tuple[Waveform, tuple[str, ...]]:
    recording = AudioReader(source, rate=RATE)
    blocks = list(recording)
    return np.concatenate(blocks), recording.warnings


def encode(
    form: str, codec: str, *, seconds: float = 3.0, rate: int = RATE, channels: int = 1
) -> bytes:
    """Returns a tone in noise, as FFmpeg writes it."""
    count = int(seconds * rate)
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(count) / rate)
    samples = (tone + np.random.default_rng(0).normal(0, 0.01, count)).astype(np.float32)
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, 64_000 * channels
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=size)
        interleaved = np.repeat(samples, channels)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(interleaved, "flt", layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return file.getvalue()


FORMATS = {
    "m4a": ("ipod", "aac", "MPEG-4"),
    "mp4": ("mp4", "aac", "MPEG-4"),
    "m4a, lossless": ("ipod", "alac", "MPEG-4"),
    "mov": ("mov", "pcm_s16le", "MPEG-4"),
    "aac": ("adts", "aac", "AAC"),
    "webm": ("webm", "libopus", "WebM"),
    "mka": ("matroska", "aac", "WebM or Matroska"),
    "wma": ("asf", "wmav2", "Windows Media"),
    "ac3": ("ac3", "ac3", "AC-3"),
    "wv": ("wv", "wavpack", "WavPack"),
    "tta": ("tta", "tta", "True Audio"),
    "wav with G.726": ("wav", "g726", "WAV with the codec G.726"),
}
"""What FFmpeg calls a format and its codec, and what errors call it."""

RATES = {"ac3": 48000, "wma": 44100, "wav with G.726": 8000, "webm": 48000}


def example(name: str, **options: float) -> bytes:
    form, codec, _ = FORMATS[name]
    return encode(form, codec, rate=RATES.get(name, RATE), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_what_ffmpeg_reads(tmp_path: Path, name: str) -> None:
    content = example(name)
    path = tmp_path / "clip"
    path.write_bytes(content)
    found, warnings = read(path)
    assert warnings == ()
    assert np.array_equal(read(content)[0], found)
    assert abs(len(found) - 3 * RATE) < 0.15 * RATE
    time = np.arange(RATE) / RATE
    middle = found[RATE // 2 :][:RATE]
    tone = abs(np.exp(-2j * np.pi * 300 * time) @ middle) * 2 / RATE
    assert 0.25 < tone < 0.33


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_lossless_equals_librosa(tmp_path: Path, rate: int, channels: int) -> None:
    """The same samples as FLAC, which libsndfile reads, and in a container that it does not."""
    samples = np.random.default_rng(rate).uniform(-0.5, 0.5, (rate * 2, channels))
    flac, mka = tmp_path / "a.flac", tmp_path / "a.mka"
    soundfile.write(flac, samples, rate, subtype="PCM_16")
    with av.open(str(flac)) as source, av.open(str(mka), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    expected, _ = librosa.load(flac, sr=RATE)
    assert np.array_equal(read(mka)[0], expected)


def test_eight_channels() -> None:
    """PyAV's own arrays reach beyond the planes of such frames."""
    found, _ = read(encode("mp4", "aac", rate=48000, channels=8))
    assert abs(len(found) - 3 * RATE) < 0.15 * RATE


@pytest.mark.parametrize("name", ["tta", "mov"])
def test_a_cut_is_noticed(name: str) -> None:
    content = example(name, seconds=6)
    half = content[: len(content) // 2]
    if name == "mov":  # its index stands behind the audio
        with pytest.raises(AudioError, match=r"MPEG-4 .* is it cut off or damaged"):
            read(half)
    else:
        (warning,) = read(half)[1]
        assert re.search(r"only [23]\.\d s could be read of 6\.0 s", warning)


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "voxmood.audio.pyav", raising=False)


@pytest.mark.usefixtures("without_pyav")
@pytest.mark.parametrize("name", FORMATS)
def test_without_pyav_the_extra_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "clip"
    path.write_bytes(example(name))
    message = rf"clip: is {FORMATS[name][2]}.*'voxmood\[av\]'.*`ffmpeg -i IN OUT\.wav`"
    with pytest.raises(AudioError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_the_rest_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(RATE), RATE, format="FLAC")
    assert len(read(file.getvalue())[0]) == RATE


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "HLS": lambda secret: f"#EXTM3U\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n".encode(),
    "concat": lambda secret: f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
    "DASH": lambda secret: f'<?xml version="1.0"?><MPD><BaseURL>{secret}</BaseURL></MPD>'.encode(),
    "SDP": lambda secret: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "HLS in a video": lambda secret: b"\0\0\0\x08wide" + f"#EXTM3U\n{secret}\n".encode(),
}
"""Files that have FFmpeg open others."""


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("suffix", [".wav", ".aac", ".m3u8", ".mp4", ".mpg"])
def test_no_other_file_is_opened(
    tmp_path: Path, case: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(RATE), RATE)
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(HOSTILE[case](secret))
    opened: list[object] = []
    real = av.open

    def spy(file: object, *arguments: object, **options: object) -> object:
        opened.append(file)
        return real(file, *arguments, **options)

    monkeypatch.setattr(av, "open", spy)
    with pytest.raises(AudioError):
        read(path)
    assert not any(isinstance(each, (str, Path)) for each in opened)


def test_the_model_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "clip.m4a"
    path.write_bytes(example("m4a"))
    model = voxmood.load(threads=1)
    assert model.predict(path).duration == pytest.approx(3, abs=0.2)
    assert [segment.end for segment in model.timeline(path, 1.0, 1.0)][:2] == [1.0, 2.0]
