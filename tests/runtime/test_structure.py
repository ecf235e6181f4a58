"""Recordings whose structure is odd: all that is there is read, or a warning says what is not."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from voxmood import AudioError
from voxmood.audio import AudioReader, Waveform

RATE = 16000


def read(source: bytes | Path) -> tuple[Waveform, tuple[str, ...]]:
    recording = AudioReader(source, rate=RATE)
    blocks = list(recording)
    return np.concatenate(blocks), recording.warnings


def noise(seconds: float, seed: int = 0) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.2 * np.sin(2 * np.pi * 200 * time) + random.normal(0, 0.02, len(time))


def encoded(
    form: str,
    subtype: str | None = None,
    *,
    seconds: float = 4.0,
    seed: int = 0,
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(seconds, seed), RATE, format=form, subtype=subtype)
    return file.getvalue()


SIZES = {
    "WAV": (b"data", 4, "<I", 0),
    "RF64": (b"ds64", 16, "<Q", 0),
    "W64": (b"data\xf3", 16, "<Q", 24),
    "AIFF": (b"SSND", 4, ">I", 8),
    "AU": (b".snd", 8, ">I", 0),
    "CAF": (b"data", 4, ">q", 4),
    "SVX": (b"BODY", 4, ">I", 0),
}
"""Behind which bytes a header says how much audio follows, and how much it counts besides."""


def declaring(content: bytes, form: str, size: int) -> bytes:
    marker, offset, kind, besides = SIZES[form]
    at = content.index(marker) + offset
    data = struct.pack(kind, size + besides)
    return content[:at] + data + content[at + len(data) :]


@pytest.mark.parametrize("form", SIZES)
@pytest.mark.parametrize("size", [36, 2 * RATE, 7 * RATE])
def test_a_size_that_is_too_small(form: str, size: int) -> None:
    whole = encoded(form, "PCM_16")
    expected, warnings = read(whole)
    assert warnings == ()
    if form in ("AU", "CAF") and size > 4 * RATE:
        pytest.skip("nothing but this size says where the file ends, so what follows may be a tag")
    found, (warning,) = read(declaring(whole, form, size))
    assert np.array_equal(found, expected)
    assert warning == (
        f"its header declares {size / 2 / RATE:.1f} s; it was read to the end of the file, 4.0 s"
    )


@pytest.mark.parametrize("form", SIZES)
def test_a_size_that_is_too_large(form: str) -> None:
    whole = encoded(form, "PCM_16")
    expected, _ = read(whole)
    found, (warning,) = read(declaring(whole, form, 16 * RATE))
    assert np.array_equal(found, expected)
    assert "only 4.0 s could be read of 8.0 s" in warning


@pytest.mark.parametrize(
    ("form", "size"),
    [("WAV", 0xFFFFFFFF), ("WAV", 0), ("WAV", 0x7FFFFFFF - 36), ("AU", 0xFFFFFFFF), ("CAF", -5)],
)
def test_a_size_that_is_not_known(form: str, size: int) -> None:
    whole = encoded(form, "PCM_16")
    found, warnings = read(declaring(whole, form, size))
    assert np.array_equal(found, read(whole)[0])
    assert warnings == ()


@pytest.mark.parametrize(
    ("form", "at", "size"), [("WAV", 4, 36), ("RF64", 20, 36), ("W64", 16, 60), ("AIFF", 4, 60)]
)
def test_the_size_of_the_whole_does_not_matter(form: str, at: int, size: int) -> None:
    whole = encoded(form, "PCM_16")
    data = struct.pack(">I" if form == "AIFF" else "<I", size)
    content = whole[:at] + data + whole[at + 4 :]
    found, warnings = read(content)
    assert np.array_equal(found, read(whole)[0])
    assert warnings == ()


ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
COVER = b"ID3\x04\0\0\0\x06\0\0" + bytes(range(256)) * 384  # 96 KiB
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 1 << 31 | 1 << 29) + bytes(8)
APE += b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 1 << 31) + bytes(8)
ALL = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "SVX", "FLAC", "OGG", "MP3", "VOC", "NIST"]


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize("tag", [ID3V1, ID3V2, APE, APE + ID3V1], ids=["1", "2", "APE", "both"])
def test_a_tag_behind(form: str, tag: bytes) -> None:
    if form == "NIST" and tag == ID3V2:
        pytest.skip("NIST has no end of its own, and ID3v2 is known from its front only")
    content = encoded(form)
    found, warnings = read(content + tag)
    assert np.array_equal(found, read(content)[0])
    assert warnings == ()


@pytest.mark.parametrize("form", ["WAV", "AIFF", "RF64"])
@pytest.mark.parametrize("size", [8, 9, 30])
def test_chunks_behind(form: str, size: int) -> None:
    """With and without the byte that pads an odd size, and cut off."""
    content = encoded(form, "PCM_16")
    order = ">I" if form == "AIFF" else "<I"
    chunk = b"LIST" + struct.pack(order, size) + bytes(size % 251 for _ in range(size))
    for tail in (chunk, chunk + bytes(size % 2), chunk + chunk, chunk[:-3]):
        found, warnings = read(content + tail)
        assert np.array_equal(found, read(content)[0])
        assert warnings == ()


def test_flac_with_a_wrong_total() -> None:
    whole = encoded("FLAC", "PCM_16")
    assert int.from_bytes(whole[22:26], "big") == 4 * RATE
    for total, warned in ((RATE, "declares 1.0 s; it was read to"), (0, "")):
        found, warnings = read(whole[:22] + total.to_bytes(4, "big") + whole[26:])
        assert np.array_equal(found, read(whole)[0])
        assert warned in "".join(warnings)
        assert len(warnings) == bool(warned)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_streams_that_were_put_together(form: str, subtype: str) -> None:
    files = [encoded(form, subtype, seconds=3, seed=0), encoded(form, subtype, seconds=2, seed=1)]
    alone = [read(file)[0] for file in files]
    tag = ID3V2 if form == "MP3" else b""
    found, warnings = read(files[0] + tag + files[1])
    assert warnings == ()
    if form == "MP3":  # the header frame of the second, and what the encoder added to it, are kept
        assert 0 <= len(found) - 5 * RATE < 0.2 * RATE
    else:
        assert np.array_equal(found, np.concatenate(alone))


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "SVX", "VOC"])
def test_files_of_a_kind_that_were_put_together(form: str) -> None:
    files = [encoded(form, seconds=seconds) for seconds in (1, 2, 1)]
    found, (warning,) = read(b"".join(files))
    assert np.array_equal(found, np.concatenate([read(file)[0] for file in files]))
    assert "3 recordings one after the other, 4.0 s in all" in warning


def test_a_second_file_that_cannot_be_read() -> None:
    first = encoded("FLAC", "PCM_16", seconds=2)
    broken = bytearray(first)
    broken[200:] = bytes(len(broken) - 200)
    found, (warning,) = read(first + bytes(broken))
    assert np.array_equal(found, read(first)[0])
    assert "number 2, which begins at 2.0 s, cannot be read" in warning


def test_files_that_were_put_together() -> None:
    first, second = encoded("WAV", "PCM_16", seconds=3), encoded("AIFF", "PCM_16", seconds=2)
    for content in (first + second, first + encoded("MP3", seconds=2), first + ID3V1 + second):
        found, (warning,) = read(content)
        assert abs(len(found) - 5 * RATE) < 0.1 * RATE
        assert "2 recordings one after the other, 5.0 s in all" in warning
    _, (cut, both) = read(first + second[:-RATE])
    assert "cut off" in cut
    assert "2 recordings" in both


def without_header_frame(mp3: bytes) -> bytes:
    content = mp3[mp3.index(mp3[:2], 4) :]
    assert b"Info" not in content
    assert b"Xing" not in content
    return content


def test_mp3_without_a_header_frame_is_read_to_its_end() -> None:
    """libsndfile guesses its length by the size of its first frame."""
    whole = encoded("MP3")
    found, warnings = read(without_header_frame(whole))
    assert abs(len(found) - 4 * RATE) < 0.2 * RATE
    assert warnings == ()


FRONTS = {"junk": b"junk" * 25, "zeros": bytes(4096), "padding": ID3V2 + bytes(2000), "APE": APE}


@pytest.mark.parametrize("front", FRONTS)
def test_mp3_behind_something_else(tmp_path: Path, front: str) -> None:
    """By name, the suffix tells libsndfile what it is."""
    path = tmp_path / "a.mp3"
    path.write_bytes(FRONTS[front] + encoded("MP3"))
    expected, _ = librosa.load(path, sr=RATE)
    for source in (path, path.read_bytes()):
        assert np.array_equal(read(source)[0], expected)


def test_mp3_that_begins_inside_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(encoded("MP3")[1001:])
    found, _ = read(path)
    assert 3 * RATE < len(found) < 4.2 * RATE


def vbri(mp3: bytes) -> bytes:
    """Returns an MP3 whose header frame is Fraunhofer's."""
    start = mp3.index(mp3[:2], 4)
    xing = re.search(rb"(Xing|Info)...\x0f(....)", mp3[:200], re.DOTALL)
    assert xing is not None
    frames = int.from_bytes(xing[2], "big")
    head = mp3[:4].ljust(36, b"\0") + b"VBRI" + struct.pack(">HHHII", 1, 0, 50, len(mp3), frames)
    return head.ljust(start, b"\0") + mp3[start:]


CUT = {
    "MP3 with a cover": COVER + encoded("MP3", seconds=6),
    "MP3 with VBRI": vbri(encoded("MP3", seconds=6)),
    "NIST": encoded("NIST", "PCM_16", seconds=6),
    "NIST, A-law": encoded("NIST", "ALAW", seconds=6),
    "VOC": encoded("VOC", "PCM_16", seconds=6),
    "VOC, 8 bits": encoded("VOC", "PCM_U8", seconds=6),
    "AVR": encoded("AVR", "PCM_16", seconds=6),
    "CAF": encoded("CAF", "PCM_16", seconds=6),
    "SDS": encoded("SDS", "PCM_16", seconds=6),
}


@pytest.mark.parametrize("case", CUT)
def test_a_cut_is_noticed(case: str) -> None:
    content = CUT[case]
    assert read(content)[1] == ()
    front = len(COVER) if content.startswith(COVER) else 0
    (warning,) = read(content[: front + (len(content) - front) // 2])[1]
    assert re.match(r"cut off.*only \d\.\d s .*(of 6\.\d s|exist)", warning), warning


def mp3_in_wav(mp3: bytes) -> bytes:
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 4000, 1, 0, 12, 1, 2, 288, 1, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, 4 * RATE)
    chunks += b"data" + struct.pack("<I", len(mp3)) + mp3 + bytes(len(mp3) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


WHOLE = {
    "MP3 in WAV": mp3_in_wav(encoded("MP3")),
    "WAV with a list in front": encoded("WAV", "PCM_16")[:36]
    + b"LIST\x04\0\0\0INFO"
    + encoded("WAV", "PCM_16")[36:],
    "FLAC behind ID3v2": ID3V2 + encoded("FLAC", "PCM_16"),
    "WAV behind ID3v2": ID3V2 + encoded("WAV", "PCM_16"),
    "FLAC behind zeros": bytes(600) + encoded("FLAC", "PCM_16"),
    "Ogg with junk behind": encoded("OGG") + b"junk" * 100,
    "MP3 with junk behind": encoded("MP3") + b"junk" * 100,
    "WAV with text behind": encoded("WAV", "PCM_16") + b"some text\n" * 100,
    "FLAC of unknown length, zeros behind": encoded("FLAC")[:21]
    + bytes([encoded("FLAC")[21] & 0xF0, 0, 0, 0, 0])
    + encoded("FLAC")[26:]
    + bytes(300),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_whole_has_no_warning(case: str) -> None:
    found, warnings = read(WHOLE[case])
    assert abs(len(found) - 4 * RATE) < 0.1 * RATE
    assert warnings == ()


REFUSED: dict[str, tuple[bytes, str]] = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
    "a page": (b"<!DOCTYPE html><html><body>404</body></html>", "is an HTML page"),
    "text": (b"This is a text.\n" * 9, "is a text file"),
    "JSON": (b'{"error": "not found"}', "is JSON"),
    "ZIP": (b"PK\x03\x04" + encoded("MP3"), "is a ZIP archive; unpack it"),
    "tar": (b"a.wav".ljust(257, b"\0") + b"ustar" + encoded("WAV"), "is a tar archive"),
    "playlist": (b"#EXTM3U\nhttp://localhost/a.mp3\n", "is a playlist"),
    "samples": (noise(1).astype("<f4").tobytes(), "NumPy"),
    "zeros": (bytes(9999), "nothing but zeros"),
    "a frame of MP3": (encoded("MP3")[:100], "not audio in a known format"),
    "one byte": (b"\xff", "not audio in a known format"),
    "half a header": (encoded("WAV")[:30], "cannot be decoded; is it cut off"),
    "half a FLAC header": (encoded("FLAC")[:60], "cannot be decoded; is it cut off|no samples"),
    "PDF": (b"%PDF-1.7\n", "is a PDF document"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a picture"),
    "MIDI": (b"MThd\0\0\0\x06" + bytes(99), "is a MIDI file"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(99), "is a NumPy array"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_recording_is_named(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(AudioError, match=message) as caught:
            read(source)
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)


def test_decoders_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Headers that are wrong are mended before mpg123 sees them and complains."""
    mp3 = encoded("MP3")
    for content in (mp3[:3000], mp3 + mp3, mp3 + APE + ID3V1, b"junk" * 30 + mp3, COVER + mp3):
        read(content)
    assert capfd.readouterr() == ("", "")


def test_parts_of_any_size() -> None:
    """Blocks and pieces do not matter: many files in one, of one frame and of many."""
    pieces = [encoded("FLAC", "PCM_16", seconds=tenths / 10) for tenths in (1, 30, 2)]
    found, warnings = read(b"".join(pieces))
    assert np.array_equal(found, np.concatenate([read(piece)[0] for piece in pieces]))
    assert warnings == ()


@pytest.mark.parametrize(
    "tail",
    [
        b"APETAGEX" + bytes(24),
        b"LYRICSBEGIN" * 3000,
        b"\xff" * 1_000_000,
        b"\xff\xf8" * 300_000,
        b"fLaC" * 100_000,
        ID3V1 * 10_000,
    ],
    ids=["APE of no size", "Lyrics3", "marks of MP3", "marks of FLAC frames", "of files", "ID3v1"],
)
@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "OGG"])
def test_no_tail_takes_forever(form: str, tail: bytes) -> None:
    """Each of these marks is looked at, and once; a loop that stays in place never ends."""
    found, _ = read(encoded(form, seconds=1) + tail)
    assert len(found) >= 0.9 * RATE


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("AVR", "PCM_U8"),
        ("IRCAM", "ULAW"),
        ("MAT5", "PCM_16"),
        ("PAF", "PCM_S8"),
        ("PVF", "PCM_S8"),
        ("XI", "DPCM_8"),
    ],
)
def test_an_mp3_behind_a_format_that_is_not_taken_apart(form: str, subtype: str) -> None:
    alone = encoded(form, subtype, seconds=2)
    expected, _ = read(alone)
    found, _ = read(alone + encoded("MP3", seconds=1))
    assert len(found) >= len(expected)
    whole = len(expected) - RATE // 10  # players read what follows as samples, too
    assert np.array_equal(found[:whole], expected[:whole])
