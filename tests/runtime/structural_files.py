"""Valid recordings of every format that libsndfile and FFmpeg can write: what is then changed."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

VARIANTS = [(1, 16000, 1.3), (2, 44100, 0.6), (1, 8000, 4.0), (2, 16000, 2.5)]
"""Channels, rate in Hz and length in seconds; a format takes those that it can hold."""

TONE_HERTZ = 220

SUFFIXES = {
    "WAVEX": "wav", "RF64": "rf64", "NIST": "sph", "IRCAM": "sf", "SVX": "iff", "MAT4": "mat",
    "MAT5": "mat", "OGG": "ogg", "MPC2K": "snd",
}  # fmt: skip
LEFT_OUT = {"RAW": "has no header", "SD2": "is two files", "XI": "keeps no sampling rate"}


@dataclass(frozen=True)
class Original:
    """A valid file.

    Attributes:
        form: who wrote which format, such as "libsndfile WAV PCM_16".
        suffix: of the file's name, without the dot.
        seconds: the sound that it was made from.
        content: its bytes.
    """

    form: str
    suffix: str
    seconds: float
    content: bytes


@dataclass(frozen=True)
class Writer:
    """How FFmpeg writes a format.

    Attributes:
        form: what to call it.
        suffix: of the file's name, without the dot.
        container: FFmpeg's name of it.
        codec: FFmpeg's name of it.
        options: of the container.
        quality: of variable bit rate, instead of a constant bit rate.
        piped: written to a pipe, so that no size in the header can be filled in afterward.
        video: with a stream of pictures before that of sound.
    """

    form: str
    suffix: str
    container: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    quality: int | None = None
    piped: bool = False
    video: bool = False


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
FAST_START = {"movflags": "faststart"}
WRITERS = [
    Writer("m4a AAC", "m4a", "ipod", "aac"),
    Writer("m4a AAC, index first", "m4a", "ipod", "aac", FAST_START),
    Writer("m4a ALAC", "m4a", "ipod", "alac"),
    Writer("mp4 AAC", "mp4", "mp4", "aac"),
    Writer("mp4 AAC in fragments", "mp4", "mp4", "aac", FRAGMENTS, piped=True),
    Writer("mp4 MP3", "mp4", "mp4", "libmp3lame"),
    Writer("mp4 Opus", "mp4", "mp4", "libopus"),
    Writer("mp4 video", "mp4", "mp4", "aac", video=True),
    Writer("mov PCM", "mov", "mov", "pcm_s16le"),
    Writer("3gp AMR", "3gp", "3gp", "libopencore_amrnb"),
    Writer("amr", "amr", "amr", "libopencore_amrnb"),
    Writer("aac ADTS", "aac", "adts", "aac"),
    Writer("webm Opus", "webm", "webm", "libopus"),
    Writer("webm Opus piped", "webm", "webm", "libopus", piped=True),
    Writer("mka Vorbis", "mka", "matroska", "vorbis"),
    Writer("mka FLAC", "mka", "matroska", "flac"),
    Writer("mkv video", "mkv", "matroska", "aac", video=True),
    Writer("wma v2", "wma", "asf", "wmav2"),
    Writer("wma v1", "wma", "asf", "wmav1"),
    Writer("wv", "wv", "wv", "wavpack"),
    Writer("tta", "tta", "tta", "tta"),
    Writer("ac3", "ac3", "ac3", "ac3"),
    Writer("eac3", "eac3", "eac3", "eac3"),
    Writer("mp2", "mp2", "mp2", "mp2"),
    Writer("avi MP3", "avi", "avi", "libmp3lame", video=True),
    Writer("flv AAC", "flv", "flv", "aac"),
    Writer("ts AAC", "ts", "mpegts", "aac", video=True),
    Writer("WAV", "wav", "wav", "pcm_s16le"),
    Writer("WAV piped", "wav", "wav", "pcm_s16le", piped=True),
    Writer("WAV float", "wav", "wav", "pcm_f32le"),
    Writer("WAV IMA ADPCM", "wav", "wav", "adpcm_ima_wav"),
    Writer("WAV MS ADPCM", "wav", "wav", "adpcm_ms"),
    Writer("WAV G.726", "wav", "wav", "g726"),
    Writer("WAV MP3", "wav", "wav", "libmp3lame"),
    Writer("RF64", "wav", "wav", "pcm_s16le", {"rf64": "always"}),
    Writer("W64", "w64", "w64", "pcm_s16le"),
    Writer("W64 piped", "w64", "w64", "pcm_s16le", piped=True),
    Writer("AIFF", "aiff", "aiff", "pcm_s16be"),
    Writer("AIFC", "aifc", "aiff", "pcm_mulaw"),
    Writer("CAF", "caf", "caf", "pcm_s16le"),
    Writer("CAF piped", "caf", "caf", "pcm_s16le", piped=True),
    Writer("CAF ALAC", "caf", "caf", "alac"),
    Writer("AU", "au", "au", "pcm_s16be"),
    Writer("AU piped", "au", "au", "pcm_s16be", piped=True),
    Writer("VOC", "voc", "voc", "pcm_s16le"),
    Writer("VOC piped", "voc", "voc", "pcm_u8", piped=True),
    Writer("FLAC", "flac", "flac", "flac"),
    Writer("FLAC piped", "flac", "flac", "flac", piped=True),
    Writer("Ogg FLAC", "oga", "ogg", "flac"),
    Writer("Ogg Opus", "opus", "ogg", "libopus"),
    Writer("Ogg Vorbis", "ogg", "ogg", "vorbis"),
    Writer("MP3 with Xing", "mp3", "mp3", "libmp3lame"),
    Writer("MP3 with Xing, variable rate", "mp3", "mp3", "libmp3lame", quality=4),
    Writer("MP3 without Xing", "mp3", "mp3", "libmp3lame", {"write_xing": "0"}),
    Writer("MP3 bare", "mp3", "mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
    Writer(
        "MP3 bare, variable rate", "mp3", "mp3", "libmp3lame",
        {"write_xing": "0", "id3v2_version": "0"}, quality=4,
    ),
]  # fmt: skip


def originals() -> list[Original]:
    """Makes them all; a format that the libraries at hand cannot write is left out."""
    files = [*_of_libsndfile(), *_of_ffmpeg()]
    files += [
        Original("MP3 with VBRI", "mp3", file.seconds, with_vbri(file.content))
        for file in files
        if file.form == "FFmpeg MP3 bare"
    ]
    files += [
        Original(f"{file.form}, Xing removed", "mp3", file.seconds, without_xing(file.content))
        for file in files
        if file.form == "libsndfile MP3 MPEG_LAYER_III"
    ]
    return files


def sound(channels: int, rate: int, seconds: float) -> npt.NDArray[np.float64]:
    """Returns a tone with noise [samples, channels] that neither cancels in its mean nor clips."""
    random = np.random.default_rng([channels, rate])
    time = np.arange(round(rate * seconds))[:, None] / rate
    tone = 0.3 * np.sin(2 * np.pi * TONE_HERTZ * time) * (1 + 0.5 * np.arange(channels))
    noisy: npt.NDArray[np.float64] = tone + random.normal(0, 0.02, tone.shape)
    return noisy


def _of_libsndfile() -> Iterator[Original]:
    for form in soundfile.available_formats():
        if form in LEFT_OUT:
            continue
        suffix = SUFFIXES.get(form, form.lower())
        for subtype in soundfile.available_subtypes(form):
            for channels, rate, seconds in VARIANTS:
                samples = sound(channels, rate, seconds)
                file = io.BytesIO()
                try:
                    soundfile.write(file, samples, rate, format=form, subtype=subtype)
                except soundfile.SoundFileError:
                    continue  # more channels or another rate than the format has
                file.seek(0)
                if soundfile.info(file).samplerate != rate:
                    continue
                yield Original(f"libsndfile {form} {subtype}", suffix, seconds, file.getvalue())


def _of_ffmpeg() -> Iterator[Original]:
    for writer in WRITERS:
        for channels, rate, seconds in VARIANTS:
            try:
                content = encode(writer, sound(channels, rate, seconds), rate)
            except (av.error.FFmpegError, ValueError):
                continue  # as above, or a build of FFmpeg without this encoder
            yield Original(f"FFmpeg {writer.form}", writer.suffix, seconds, content)


BIT_RATES = {"libopencore_amrnb": 12200, "g726": 32000}  # bit/s, of codecs that have few


class Pipe:
    """Takes bytes, and cannot go back to change them."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def encode(writer: Writer, samples: npt.NDArray[np.float64], rate: int) -> bytes:
    """Encodes samples [samples, channels] of -1 to 1 with FFmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        path, pipe = Path(folder) / "file", Pipe()
        target: Any = pipe if writer.piped else str(path)
        with av.open(target, "w", format=writer.container, options=writer.options) as output:
            pictures = output.add_stream("mpeg4", rate=10) if writer.video else None
            stream: Any = output.add_stream(writer.codec, rate=rate)
            stream.layout = "mono" if samples.shape[1] == 1 else "stereo"
            stream.options = {"strict": "experimental"}  # FFmpeg's own Vorbis
            if writer.quality is None:
                stream.bit_rate = BIT_RATES.get(writer.codec, 64000 if rate > 16000 else 32000)
            else:
                stream.codec_context.qscale = True
                stream.codec_context.global_quality = writer.quality * 118  # FF_QP2LAMBDA
            packets = _pictures(pictures, len(samples) / rate) if pictures else []
            pcm = np.round(samples * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), "s16", stream.layout.name)
            frame.sample_rate, frame.pts = rate, 0
            for packet in (*packets, *stream.encode(frame), *stream.encode(None)):
                output.mux(packet)
        return bytes(pipe.content) if writer.piped else path.read_bytes()


def _pictures(stream: Any, seconds: float) -> list[Any]:
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    packets: list[Any] = []
    for number in range(round(10 * seconds)):
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        picture.pts, picture.time_base = number, Fraction(1, 10)
        packets += stream.encode(picture)
    return [*packets, *stream.encode(None)]


MP3_BIT_RATES = {
    1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}
"""Of Layer III, in kbit/s, for MPEG 1 and for MPEG 2 and 2.5."""


def frame_bytes(header: bytes) -> int:
    """Returns the length of the Layer III frame that begins with these four bytes."""
    version = header[1] >> 3 & 3  # 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
    rate = [44100, 48000, 32000][header[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    bits = MP3_BIT_RATES[1 if version == 3 else 2][header[2] >> 4] * 1000
    return (144 if version == 3 else 72) * bits // rate + (header[2] >> 1 & 1)


def without_xing(content: bytes) -> bytes:
    """Removes the frame at the beginning that holds a Xing or Info header."""
    match = re.search(rb"\xff[\xe2-\xff].{2}.{0,36}?(?:Xing|Info)", content[:4096], re.DOTALL)
    assert match, "has no Xing header"
    return content[match.start() + frame_bytes(content[match.start() :]) :]


def with_vbri(content: bytes) -> bytes:
    """Puts a frame with a VBRI header, as Fraunhofer's encoder writes, before MPEG frames."""
    at = frames = 0
    while at + 4 <= len(content) and content[at] == 0xFF:
        at += frame_bytes(content[at:])
        frames += 1
    # The highest bit rate but one makes a frame long enough for the header.
    header = content[:2] + bytes([content[2] & 0x0C | 0xD0]) + content[3:4]
    length = frame_bytes(header)
    numbers = [(1, 2), (0, 2), (75, 2), (len(content) + length, 4), (frames, 4)]
    numbers += [(1, 2), (1, 2), (2, 2), (frames, 2), (len(content) & 0xFFFF, 2)]
    tag = b"VBRI" + b"".join(number.to_bytes(width, "big") for number, width in numbers)
    return (header + bytes(32) + tag).ljust(length, b"\0") + content
