"""The suffixes of recordings, and what a file is that libsndfile does not read."""

from __future__ import annotations

import re

from voxmood.audio.content import Content
from voxmood.audio.flac import is_frame
from voxmood.audio.mpeg import is_mpeg
from voxmood.audio.tags import begins_file, skip_front, skip_tags
from voxmood.errors import AudioError, MissingExtraError

LIBSNDFILE_SUFFIXES = {
    ".8svx", ".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".htk", ".ircam",
    ".mp1", ".mp2", ".mp3", ".mpa", ".mpga", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf",
    ".rf64", ".sds", ".sf", ".snd", ".sph", ".svx", ".voc", ".w64", ".wav", ".wave", ".wve", ".xi",
}  # fmt: skip
"""The suffixes of what libsndfile reads, which every installation has."""

PYAV_SUFFIXES = {
    ".3g2", ".3gp", ".3gpp", ".aac", ".ac3", ".adts", ".amr", ".ape", ".asf", ".avi", ".awb",
    ".dff", ".dsf", ".dts", ".eac3", ".f4v", ".flv", ".m2a", ".m2p", ".m2ts", ".m4a", ".m4b",
    ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ogx", ".oma", ".qt", ".ra", ".rm", ".spx", ".tak", ".tta", ".vob", ".weba", ".webm", ".wma",
    ".wmv", ".wv",
}  # fmt: skip
"""The suffixes of what only PyAV reads (extra `av`). Without the extra, such files are found, too,
and then reported."""

SUFFIXES = LIBSNDFILE_SUFFIXES | PYAV_SUFFIXES  # not .ts, which is TypeScript more often
"""The suffixes by which a file in a folder counts as a recording, in lower case."""

CODED = {
    "MPEG-4 audio (m4a, mp4, 3gp, mov)": rb"....(ftyp|moov|mdat|wide)",
    "WebM or Matroska": rb"\x1a\x45\xdf\xa3",
    "AMR": rb"#!AMR",
    "AAC": rb"ADIF|\xff[\xf0\xf1\xf8\xf9]|\x56[\xe0-\xff]",
    "Windows Media (wma)": rb"\x30\x26\xb2\x75",
    "AC-3": rb"\x0b\x77",
    "Monkey's Audio (ape)": rb"MAC ",
    "WavPack": rb"wvpk",
    "DSD (dsf, dff)": rb"DSD |FRM8",
    "True Audio (tta)": rb"TTA[12]",
    "AVI": rb"RIFF....AVI ",
    "Flash video": rb"FLV\x01",
    "MPEG video": rb"\x00\x00\x01[\xb3\xba]|.{0,187}?G.{187}G.{187}G.{187}G",
    "RealMedia": rb"\.RMF|\.ra\xfd",
    "Musepack": rb"MP\+|MPCK",
    "ATRAC (oma)": rb"ea3\x03|EA3\x01",
    "Speex in Ogg": rb"OggS.{24,80}Speex   ",
    "video in Ogg": rb"OggS.{24,80}\x80theora",
    "DTS": rb"\x7f\xfe\x80\x01",
}
"""Formats that libsndfile does not read, each with what its files begin with."""

BOM = b"\xef\xbb\xbf"  # of text in UTF-8, which some editors put in front

WEAKLY_MARKED = {"AAC", "AC-3", "MPEG video"}
"""Formats that begin with so few fixed bytes that other data may begin in this way by chance."""

STREAM_SUFFIXES = {".aac", ".ac3", ".eac3", ".mpeg", ".mpg"}
"""The suffixes of streams of frames, in which FFmpeg finds the first frame wherever it is."""

OTHER = {
    "a Git LFS pointer, not the recording; `git lfs pull` fetches it": (
        rb"version https://(git-lfs|hawser)"
    ),
    "an HTML page; was it downloaded from the wrong address?": (
        rb"(?i:\s*<(!doctype|html|head|body|!--))"
    ),
    "XML": rb"\s*<\?xml",
    "JSON": rb"\s*[{\[]\s*[\"{\[]",
    "a ZIP archive; unpack it": rb"PK(\x03\x04|\x05\x06)",
    "a gzip archive; unpack it": rb"\x1f\x8b",
    "a bzip2 archive; unpack it": rb"BZh[1-9]",
    "an xz archive; unpack it": rb"\xfd7zXZ",
    "a 7z archive; unpack it": rb"7z\xbc\xaf",
    "a RAR archive; unpack it": rb"Rar!",
    "a PDF document": rb"%PDF",
    "a picture": rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|BM.{4}\x00{4}",
    "a MIDI file, which has notes but no sound": rb"MThd",
    "a playlist; name the recordings in it": rb"#EXTM3U|\[playlist\]",
    "a NumPy array; pass numpy.load(file) with sampling_rate=": rb"\x93NUMPY",
    "a tar archive; unpack it": rb".{257}ustar",
    "a program": rb"\x7fELF|MZ",
    "an ONNX model": rb"\x08[\x03-\x0d]\x12.{1,20}(pytorch|onnx|voxmood)",
}
"""What is not audio: what to call it in a message, and what such a file begins with."""

WAV_CODECS = {
    0x22: "TrueSpeech", 0x28: "LPC", 0x41: "G.728", 0x42: "G.723.1", 0x45: "G.726",
    0x64: "G.726", 0x65: "G.722", 0x83: "G.729", 0x84: "G.729", 0xFF: "AAC", 0x130: "ACELP",
    0x160: "Windows Media", 0x161: "Windows Media", 0x162: "Windows Media",
    0x163: "Windows Media", 0x270: "ATRAC3", 0x1610: "AAC", 0x2000: "AC-3", 0x2001: "DTS",
    0x566F: "Vorbis", 0x674F: "Vorbis", 0x6750: "Vorbis", 0x6751: "Vorbis", 0x676F: "Vorbis",
    0x6770: "Vorbis", 0x6771: "Vorbis", 0x7A21: "AMR", 0x7A22: "AMR", 0xA109: "Speex",
    0xF1AC: "FLAC",
}  # fmt: skip
"""The codecs of WAV files, by the format tag in the chunk `fmt `."""

READ_BY_LIBSNDFILE = {1, 2, 3, 6, 7, 0x11, 0x31, 0x38, 0x40, 0x50, 0x55, 0xFFFE}
"""The format tags that libsndfile reads."""


def coded_audio(content: Content) -> str | None:
    """Return the name of a format that libsndfile does not read; None for all other files."""
    # Zeros at the beginning may belong to the format, as before `ftyp`, or be padding.
    for start in (skip_tags(content, 0), skip_front(content)):
        head = content.at(start, 768)
        if name := "FLAC without its header" if is_frame(head) else _match(CODED, head):
            return name
    return None


def begins_coded(content: Content, offset: int) -> bool:
    """Return whether a file that only PyAV reads clearly begins at an offset."""
    name = _match(CODED, content.at(offset, 512))
    return name is not None and name not in WEAKLY_MARKED


def other_kind(content: Content) -> str | None:
    """Return what a file is if it is clearly not audio, else None."""
    return _match(OTHER, content.at(0, 512).removeprefix(BOM))


def is_audio(content: Content, name: str) -> bool:
    """Return whether a file is audio in a known format, by what it begins with or its suffix."""
    start = skip_front(content)
    return (
        coded_audio(content) is not None
        or begins_file(content, start)
        or is_mpeg(content, start)
        or (name.lower().endswith(tuple(STREAM_SUFFIXES)) and not is_text(content.at(0, 512)))
    )


def refusal(content: Content, name: str, cause: Exception | None = None) -> AudioError:
    """Return the error to raise for a file that no decoder reads.

    Args:
        content: the content of the file.
        name: the name of the file in messages.
        cause: the error of PyAV, or a MissingExtraError if it is not installed.
    """
    head = content.at(0, 512)
    if not head:
        return AudioError(f"{name}: is empty.")
    if other := other_kind(content):
        return AudioError(f"{name}: is {other}.")
    coded = _wav_codec(content) if is_wav(content) else coded_audio(content)
    if isinstance(cause, MissingExtraError) and not coded and is_audio(content, name):
        return AudioError(
            f"{name}: is audio that libsndfile cannot decode. If it is not cut off or damaged, "
            "install PyAV, which reads more: pip install 'voxmood[av]'."
        )
    if coded and isinstance(cause, MissingExtraError):
        return AudioError(
            f"{name}: is {coded}, which needs PyAV: pip install 'voxmood[av]'; or convert it, for "
            "example `ffmpeg -i IN OUT.wav`."
        )
    if coded or is_audio(content, name):
        kind = coded or "audio in a known format"
        return AudioError(f"{name}: is {kind} but cannot be decoded; is it cut off or damaged?")
    if not head.strip(b"\0"):
        return AudioError(f"{name}: begins with nothing but zeros; was it written to the end?")
    if is_text(head):
        return AudioError(f"{name}: is a text file, not a recording.")
    return AudioError(
        f"{name}: is not audio in a known format. NumPy can read samples without a header: "
        "predict(numpy.fromfile(name, 'int16'), sampling_rate=16000)."
    )


def is_wav(content: Content) -> bool:
    """Return whether a file begins as a WAV file does."""
    head = content.at(skip_tags(content, 0), 12)
    return head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"


def _match(names: dict[str, bytes], head: bytes) -> str | None:
    return next((name for name, magic in names.items() if re.match(magic, head, re.DOTALL)), None)


def _wav_codec(content: Content) -> str | None:
    """Return the codec of a WAV file if libsndfile does not read it, else None."""
    at = content.find(b"fmt ", 12, 4096)
    tag = content.number(at + 8, 2) if at >= 0 else 0
    if tag in (0, *READ_BY_LIBSNDFILE):
        return None
    return f"WAV with the codec {WAV_CODECS.get(tag, f'0x{tag:04x}')}"


def is_text(head: bytes) -> bool:
    """Return whether bytes are text in UTF-8."""
    try:
        text = head[: 512 - 4].decode()  # up to where no character can be cut
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)
