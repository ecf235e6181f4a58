"""Odd files: the answer is as long as FFmpeg's, or a warning says why it is not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from structural import TOLERANCE_SECONDS, Answer, answer, ffmpeg_reads
from structural_changes import ape, id3v2
from structural_fields import chunks, fields
from structural_files import TONE_HERTZ, WRITERS, encode, sound

from voxmood.audio import AudioReader

soundfile = pytest.importorskip("soundfile")
TEXT = b"Here lies some text that is no audio.\n" * 200
SMALL = ape(np.random.default_rng(0))
COVER = ape(np.random.default_rng(0), 80_000)
TAG = id3v2(np.random.default_rng(0), 0, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def written(
    path: Path, form: str, subtype: str | None = None, *, rate: int = 16000, seconds: float = 4.0
) -> bytes:
    """Returns a file that libsndfile wrote."""
    soundfile.write(path, sound(1, rate, seconds), rate, format=form, subtype=subtype)
    return path.read_bytes()


def of_ffmpeg(form: str, rate: int = 16000, seconds: float = 4.0) -> bytes:
    """Returns a file that FFmpeg wrote."""
    writer = next(each for each in WRITERS if each.form == form)
    return encode(writer, sound(1, rate, seconds), rate)


def read(path: Path, content: bytes) -> tuple[Answer, float]:
    """Returns what voxmood makes of a file, and how many seconds FFmpeg reads."""
    path.write_bytes(content)
    given = answer(path)
    assert given.refusal is None
    return given, ffmpeg_reads(path)[1]


def agree(seconds: float, others: float) -> bool:
    return abs(seconds - others) <= TOLERANCE_SECONDS


@pytest.mark.parametrize("rates", [(8000, 8000), (16000, 16000, 16000), (16000,) * 6, (44100,) * 3])
def test_mp3s_that_were_joined(path: Path, rates: tuple[int, ...]) -> None:
    """Players decode the header frames between, and keep what encoders add."""
    given, seconds = read(path, b"".join(written(path, "MP3", rate=rate) for rate in rates))
    assert agree(given.seconds, seconds)
    assert given.warnings == ()


@pytest.mark.parametrize("rates", [(8000, 44100), (44100, 16000), (16000, 8000)])
def test_joined_mp3s_of_several_rates(path: Path, rates: tuple[int, ...]) -> None:
    """Players lose frames, or count them wrongly, where the rate changes."""
    given, _ = read(path, b"".join(written(path, "MP3", rate=rate) for rate in rates))
    assert 8 <= given.seconds <= 8.3
    (warning,) = given.warnings
    assert "contains 2 recordings one after the other" in warning
    assert "all of them were read" in warning


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_a_header_frame_that_counts_no_frames(path: Path, rate: int) -> None:
    content = written(path, "MP3", rate=rate)
    count = next(field for field in fields(content) if field.name == "Xing")
    given, seconds = read(path, count.write(content, 0))
    assert agree(given.seconds, seconds)
    assert agree(given.seconds, 4.0)
    assert given.warnings == ()


@pytest.mark.parametrize(
    "front", [SMALL, TAG + bytes(999), bytes(5000)], ids=["APE", "ID3v2 and zeros", "zeros"]
)
@pytest.mark.parametrize("rate", [8000, 44100])
def test_an_mp3_whose_header_frame_players_do_not_find(path: Path, front: bytes, rate: int) -> None:
    given, seconds = read(path, front + written(path, "MP3", rate=rate))
    assert agree(given.seconds, 4.0)
    assert bool(given.warnings) == (not agree(given.seconds, seconds))
    assert all("in players it may be 0." in each for each in given.warnings)


@pytest.mark.parametrize("lost", [20, 100, 170, 400])
@pytest.mark.parametrize("seconds", [2.5, 4.0])
def test_an_mp3_that_is_cut_off_behind_junk(path: Path, seconds: float, lost: int) -> None:
    """Players invent the end of the last frame, besides keeping what the encoder added."""
    junk = np.random.default_rng(1).bytes(128)
    given, of_players = read(path, junk + of_ffmpeg("MP3 with Xing", seconds=seconds)[:-lost])
    assert given.warnings or agree(given.seconds, of_players)


@pytest.mark.parametrize("between", [b"", TEXT[:500], TEXT * 10], ids=["", "text", "long text"])
@pytest.mark.parametrize("front", [b"", TEXT, TAG], ids=["", "text", "ID3v2"])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_behind_an_mp3(path: Path, front: bytes, between: bytes, subtype: str) -> None:
    """The recording that begins first is not left out."""
    content = front + of_ffmpeg("MP3 bare") + between + written(path, "OGG", subtype)
    given, _ = read(path, content)
    assert agree(given.seconds, 8.1)
    assert "contains 2 recordings one after the other" in given.warnings[-1]


@pytest.mark.parametrize("form", ["WAV MP3", "MP3 bare", "WAV"])
@pytest.mark.parametrize("audio", ["WAV MP3", "WAV"])
def test_a_file_in_a_chunk_before_the_audio(path: Path, audio: str, form: str) -> None:
    whole = of_ffmpeg(audio)
    expected = np.concatenate(list(AudioReader(whole, rate=16000)))
    other = of_ffmpeg(form, seconds=1.0)
    at = next(chunk.at for chunk in chunks(whole) if chunk.name == "data")
    junk = b"JUNK" + struct.pack("<I", len(other)) + other + bytes(len(other) % 2)
    content = whole[:at] + junk + whole[at:]
    path.write_bytes(content)
    reader = AudioReader(path, rate=16000)
    assert np.array_equal(np.concatenate(list(reader)), expected)
    assert reader.warnings == ()
    assert agree(len(expected) / 16000, ffmpeg_reads(path)[1])


ADPCM = pytest.mark.parametrize("codec", ["MS ADPCM", "IMA ADPCM"])


@ADPCM
@pytest.mark.parametrize("form", ["WAV", "W64"])
def test_adpcm_that_runs_into_another_file(path: Path, form: str, codec: str) -> None:
    whole = written(path, form, codec.replace(" ", "_"))
    assert read(path, whole)[0].warnings == ()
    given, _ = read(path, whole[: len(whole) // 2] + written(path, "WAV", "PCM_16"))
    assert f"blocks are not {codec} and were read as noise" in given.warnings[-1]


@ADPCM
def test_adpcm_of_no_size_before_another_file(path: Path, codec: str) -> None:
    """Players read such a file to the end."""
    whole = written(path, "WAV", codec.replace(" ", "_"))
    size = next(field for field in fields(whole) if field.name == "data")
    given, _ = read(path, size.write(whole, 0) + of_ffmpeg("flv AAC"))
    assert f"blocks are not {codec} and were read as noise" in given.warnings[-1]


@ADPCM
@pytest.mark.parametrize("form", ["WAV", "W64"])
def test_chunks_behind_adpcm(path: Path, form: str, codec: str) -> None:
    whole = written(path, form, codec.replace(" ", "_"))
    assert (
        read(path, whole + (b"" if form == "W64" else b"JUNK\x04\0\0\0\xff\xff\xff\xff"))[
            0
        ].warnings
        == ()
    )


def voc_block(content: bytes) -> bytes:
    """Returns the block of audio of a VOC file."""
    at = int.from_bytes(content[20:22], "little")
    return content[at : at + 4 + int.from_bytes(content[at + 1 : at + 4], "little")]


def test_voc_of_two_blocks(path: Path) -> None:
    content = of_ffmpeg("VOC", 16000, 2.0)
    block = voc_block(content)
    given, seconds = read(path, content[:26] + block + block + b"\0")
    assert agree(given.seconds, 4.0)
    assert agree(seconds, 4.0)
    assert given.warnings == ()


@pytest.mark.parametrize("behind", ["a block of another rate", "bytes", "what is no block"])
def test_voc_with_more_behind(path: Path, behind: str) -> None:
    content = of_ffmpeg("VOC", 16000, 2.0)
    more = {
        "a block of another rate": voc_block(of_ffmpeg("VOC", 8000, 2.0)),
        "bytes": bytes([200]) * 40_000,
        "what is no block": voc_block(content)[20_000:],
    }[behind]
    given, _ = read(path, content[:26] + voc_block(content) + more)
    assert agree(given.seconds, 2.0)
    (warning,) = given.warnings
    assert "what follows its 2.0 s of audio" in warning


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("AU", "PCM_16"), ("AU", "ALAW"), ("NIST", "PCM_16"), ("PAF", "PCM_24"), ("CAF", "PCM_16")],
)
@pytest.mark.parametrize("front", [b"", TAG, bytes(600)], ids=["", "ID3v2", "zeros"])
def test_a_cover_behind(path: Path, form: str, subtype: str, front: bytes) -> None:
    """A warning is due where players read the cover as audio, and only there."""
    if form == "PAF" and front:
        pytest.skip("libsndfile does not find PAF behind something else")
    given, seconds = read(path, front + written(path, form, subtype) + COVER)
    assert agree(given.seconds, 4.0)
    assert bool(given.warnings) == (seconds > 0 and not agree(given.seconds, seconds))


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("AIFF", "DWVW_16"), ("AIFF", "GSM610"), ("AIFF", "PCM_16"), ("WAV", "PCM_16")],
)
@pytest.mark.parametrize("behind", [bytes(999) + TEXT * 20, COVER + TEXT * 20, TEXT * 20])
def test_text_behind(path: Path, form: str, subtype: str, behind: bytes) -> None:
    """It is no audio, also where zeros or a tag stand between."""
    rate = 8000 if subtype == "GSM610" else 16000
    given, _ = read(path, written(path, form, subtype, rate=rate) + behind)
    assert agree(given.seconds, 4.0)
    assert given.warnings == ()


@pytest.mark.parametrize("subtype", ["ALAC_16", "ALAC_24", "PCM_16", "ULAW"])
@pytest.mark.parametrize("size", [80_000, 2_000_000])
def test_a_large_chunk_before_the_audio(path: Path, subtype: str, size: int) -> None:
    """libsndfile decodes ALAC behind such a chunk to silence."""
    whole = written(path, "CAF", subtype)
    expected = np.concatenate(list(AudioReader(whole, rate=16000)))
    at = next(chunk.at for chunk in chunks(whole) if chunk.name == "data")
    for name in (b"id3 ", b"LIST", b"info"):
        content = whole[:at] + 2 * (name + struct.pack(">q", size) + bytes(size)) + whole[at:]
        reader = AudioReader(content, rate=16000)
        assert np.array_equal(np.concatenate(list(reader)), expected)
        assert reader.warnings == ()


@pytest.mark.parametrize("form", ["AU", "CAF"])
@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125)], ids=["", "ID3v1"])
@pytest.mark.parametrize("subtype", ["PCM_16", "DOUBLE"])
def test_forms_of_an_unknown_size(path: Path, form: str, behind: bytes, subtype: str) -> None:
    content = written(path, form, subtype)
    size = next(field for field in fields(content) if field.name in ("AU", "data"))
    for number in (size.largest, size.largest // 2):
        given, _ = read(path, size.write(content, number) + behind)
        assert agree(given.seconds, 4.0)
        assert given.gaps == 0
        assert given.warnings == ()


@pytest.mark.parametrize("form", ["NIST", "AVR"])
@pytest.mark.parametrize("count", [100, 32_000])
def test_headers_that_declare_less(path: Path, form: str, count: int) -> None:
    """libsndfile reads these formats to the end of the file."""
    content = written(path, form, "PCM_16")
    size = next(field for field in fields(content) if field.name == form)
    given, _ = read(path, size.write(content, count))
    assert agree(given.seconds, 4.0)
    (warning,) = given.warnings
    assert "it was read to the end of the file, 4.0 s" in warning


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "ULAW", "PCM_16"])
@pytest.mark.parametrize("count", [0, 36, 16_000])
def test_aiff_that_counts_too_few_samples(path: Path, subtype: str, count: int) -> None:
    content = written(path, "AIFF", subtype, rate=8000)
    assert read(path, content)[0].warnings == ()
    frames = next(field for field in fields(content) if field.name == "COMM")
    given, seconds = read(path, frames.write(content, count))
    assert agree(given.seconds, 4.0)
    assert agree(given.seconds, seconds)


def test_what_only_ffmpeg_reads_declares_less(path: Path) -> None:
    content = of_ffmpeg("WAV G.726", 8000)
    size = next(field for field in fields(content) if field.name == "data")
    given, _ = read(path, size.write(content, 36))
    assert agree(given.seconds, 4.0)
    (warning,) = given.warnings
    assert "it was read to the end of the file, 4.0 s" in warning


@pytest.mark.parametrize("at", [1, 100, 187, 1000])
def test_a_broadcast_that_begins_inside_a_packet(path: Path, at: int) -> None:
    given, seconds = read(path, of_ffmpeg("ts AAC", 44100)[at:])
    assert agree(given.seconds, seconds)
    assert seconds > 2


def test_the_second_judge_hears_what_is_missing() -> None:
    """It would not accept silence, noise, or another sound in place of a recording."""
    from structural import gaps

    tone = np.sin(2 * np.pi * TONE_HERTZ * np.arange(16000) / 16000).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.3, 16000).astype(np.float32)
    assert gaps(0.3 * tone) == 0
    for other in (0 * tone, noise, 0.01 * tone, np.roll(tone, 1) * np.sign(noise)):
        assert gaps(other) == 10
