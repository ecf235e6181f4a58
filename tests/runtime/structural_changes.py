"""Structural changes of recordings, each with what it does to the audio in the file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from structural_fields import Chunk, Role, chunks, fields
from structural_files import Original

MISSED_SECONDS = 0.15  # what less than this makes a cut is hard to notice, and no matter


Valid: TypeAlias = tuple[str, float]
"""What a valid file is known by: its format and the seconds of its sound."""


@dataclass(frozen=True)
class Case:
    """A changed file.

    Attributes:
        form: the format that it was made from.
        suffix: of the file's name, without the dot.
        seconds: the sound that the original was made from.
        content: its bytes.
        start: where the bytes of the original begin.
        end: where they end.
        changes: what was done to it, in order.
        pieces: the valid files whose sound is in it, whole and in order; None where a change may
            have taken some of it away.
        missing: whether a reader of the file can see that audio is missing, or that more or less is
            there than is declared, so that a warning is due. False where everything is there and
            a warning is wrong; None where nobody can tell, or either is fair.
        audio: whether the file is audio at all; if not, an error is due.
    """

    form: str
    suffix: str
    seconds: float
    content: bytes
    start: int
    end: int
    changes: tuple[str, ...] = ()
    pieces: tuple[Valid, ...] | None = ()
    missing: bool | None = False
    audio: bool = True

    @property
    def whole(self) -> bytes:
        """The bytes of the original, without what was put before and after."""
        return self.content[self.start : self.end]


Change = Callable[[Case, Sequence[Case], np.random.Generator], Case | None]
"""Takes a case, all originals and a source of chance; returns None where it cannot be done."""


def unchanged(original: Original) -> Case:
    """Returns the case of a valid file."""
    content = original.content
    return Case(
        original.form, original.suffix, original.seconds, content, 0, len(content),
        pieces=((original.form, original.seconds),),
    )  # fmt: skip


def _after(case: Case, change: str, missing: bool | None, **facts: object) -> Case:
    # Of two changes it is known what they do together where the first did no harm.
    together = missing if case.missing is False else None
    return replace(case, changes=(*case.changes, change), missing=together, **facts)  # type: ignore[arg-type]


def _before(case: Case, data: bytes, change: str, missing: bool | None) -> Case:
    return _after(
        case, change, missing, content=data + case.content,
        start=case.start + len(data), end=case.end + len(data),
    )  # fmt: skip


def _behind(case: Case, data: bytes, change: str, missing: bool | None) -> Case:
    return _after(case, change, missing, content=case.content + data)


def _followed(case: Case, other: Case, change: str) -> Case:
    """Returns the case with another file behind it."""
    pieces = None if case.pieces is None or other.pieces is None else case.pieces + other.pieces
    return replace(_behind(case, other.content, change, None), pieces=pieces)


def _spliced(case: Case, at: int, data: bytes, change: str, missing: bool | None) -> Case:
    """Returns the case with data put into the bytes of the original."""
    content = case.content[:at] + data + case.content[at:]
    return _after(case, change, missing, content=content, end=case.end + len(data))


def _pick(random: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(random.integers(len(options)))]


# Declared sizes


def declare(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Declares another size than the true one."""
    known = fields(case.content)
    if not known:
        return None
    field = known[int(random.integers(len(known)))]
    true = field.read(case.content)
    names = {"zero": 0, "few": 36, "half": true // 2, "double": 2 * true, "ones": field.largest}
    name = _pick(random, list(names))
    number = min(names[name], field.largest)
    missing: bool | None = None
    if field.role is Role.OUTER or (field.role is Role.LENGTH and field.is_unknown(number)):
        missing = False
    elif field.tells(case.content) and (
        name == "double" or (name in ("few", "half") and field.role is Role.LENGTH)
    ):
        # What is behind the audio may be as long as what is declared too much.
        missing = True if name != "double" or case.end == len(case.content) else None
    content = field.write(case.content, number)
    return _after(case, f"{field.name} size {name}", missing, content=content)


# Cuts


def cut(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Cuts the file off inside the original."""
    kept = random.uniform(0.02, 0.98)
    content = case.content[: case.start + int(kept * (case.end - case.start))]
    tells = case.whole.startswith(b"OggS") or any(
        field.tells(case.whole) for field in fields(case.whole)
    )
    audible = (1 - kept) * case.seconds > MISSED_SECONDS
    # What was put inside the original is no audio, and the cut may be in that.
    spliced = any(change.startswith(("chunk", "FLAC")) for change in case.changes)
    missing = True if tells and audible and not spliced else None
    end = min(case.end, len(content))
    return _after(case, "cut", missing, content=content, end=end, pieces=None)


def cut_behind(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Puts a chunk, a tag or junk behind the audio and cuts the file off inside that."""
    how = [tag_behind, junk_behind, chunk_behind][int(random.integers(3))]
    longer = how(case, files, random)
    if longer is None:
        return None
    at = int(random.integers(len(case.content), len(longer.content)))
    changes = (*longer.changes[:-1], f"{longer.changes[-1]}, cut inside that")
    content = longer.content[:at]
    return replace(longer, content=content, changes=changes, end=min(longer.end, at))


def start_inside(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Lets a stream of frames begin in the middle of one, as a recording of a broadcast does."""
    if case.suffix not in ("mp3", "aac", "mp2", "ac3", "eac3", "ts"):
        return None
    at = case.start + int(random.uniform(0, 0.5) * (case.end - case.start)) + 1
    content = case.content[at:]
    end = case.end - at
    what = "start inside a frame"
    return _after(case, what, None, content=content, start=0, end=end, pieces=None)


# Junk and tags


def _junk(random: np.random.Generator) -> tuple[str, bytes]:
    length = int(random.choice([1, 7, 128, 600, 4096, 70_000]))
    kind = _pick(random, ["zeros", "random bytes", "text"])
    if kind == "zeros":
        return kind, bytes(length)
    if kind == "text":
        return kind, (b"Here lies some text that is no audio.\n" * (length // 38 + 1))[:length]
    return kind, random.bytes(length)


def junk_before(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts bytes of no meaning before the audio."""
    kind, data = _junk(random)
    return _before(case, data, f"{kind} before", None if kind == "random bytes" else False)


def junk_behind(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts bytes of no meaning behind the audio."""
    kind, data = _junk(random)
    return _behind(case, data, f"{kind} behind", None if kind == "random bytes" else False)


def id3v2(random: np.random.Generator, cover_bytes: int, padding: int) -> bytes:
    """Returns an ID3v2.3 tag with a title, a cover if it has any bytes, and padding inside."""
    frames = b"TIT2" + (8).to_bytes(4, "big") + b"\0\0\0A title"
    if cover_bytes:
        cover = b"\0image/jpeg\0\x03\0\xff\xd8" + random.bytes(cover_bytes)
        frames += b"APIC" + len(cover).to_bytes(4, "big") + b"\0\0" + cover
    frames += bytes(padding)
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frames


def id3v1() -> bytes:
    """Returns an ID3v1 tag: 128 bytes."""
    return (b"TAG" + b"A title").ljust(127, b"\0") + b"\x0c"


def ape(random: np.random.Generator, cover_bytes: int = 0) -> bytes:
    """Returns an APEv2 tag with header and footer."""
    items = [(b"Title", b"A title", 0)]
    if cover_bytes:
        items.append((b"Cover Art (Front)", b"cover.jpg\0" + random.bytes(cover_bytes), 2))
    body = b"".join(
        len(value).to_bytes(4, "little") + flags.to_bytes(4, "little") + key + b"\0" + value
        for key, value, flags in items
    )

    def edge(flags: int) -> bytes:
        numbers = (2000, len(body) + 32, len(items), flags)
        return b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in numbers) + bytes(8)

    return edge(0xA0000000) + body + edge(0x80000000)


def lyrics() -> bytes:
    """Returns a Lyrics3 v2 tag, which stands before an ID3v1 tag."""
    body = b"LYRICSBEGIN" + b"LYR00012" + b"Some lyrics."
    return body + b"%06d" % len(body) + b"LYRICS200"


def tag_before(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts a tag before the audio."""
    kind = _pick(
        random,
        ["ID3v2", "ID3v2 with cover", "ID3v2 with padding", "ID3v2 and zeros", "two ID3v2", "APE"],
    )
    data = {
        "ID3v2": lambda: id3v2(random, 0, 0),
        "ID3v2 with cover": lambda: id3v2(random, 80_000, 0),
        "ID3v2 with padding": lambda: id3v2(random, 0, 2048),
        "ID3v2 and zeros": lambda: id3v2(random, 0, 0) + bytes(int(random.integers(1, 3000))),
        "two ID3v2": lambda: id3v2(random, 0, 0) + id3v2(random, 300, 10),
        "APE": lambda: ape(random),
    }[kind]()
    return _before(case, data, f"{kind} before", False)


def tag_behind(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts a tag behind the audio."""
    kind = _pick(random, ["ID3v1", "APE", "APE with cover", "APE and ID3v1", "Lyrics3", "ID3v2"])
    data = {
        "ID3v1": lambda: id3v1(),
        "APE": lambda: ape(random),
        "APE with cover": lambda: ape(random, 80_000),
        "APE and ID3v1": lambda: ape(random) + id3v1(),
        "Lyrics3": lambda: lyrics() + id3v1(),
        "ID3v2": lambda: id3v2(random, 0, 0),
    }[kind]()
    return _behind(case, data, f"{kind} behind", False)


# Chunks

AUDIO_CHUNKS = ("data", "SSND", "BODY")


def _chunk(case: Case, files: Sequence[Case], random: np.random.Generator) -> tuple[str, bytes]:
    """Returns the name and the body of a chunk that holds no audio."""
    name = _pick(random, ["LIST", "JUNK", "bext", "cue ", "id3 ", "odd ", "file"])
    if name == "file":  # a whole file inside
        return "JUNK", files[int(random.integers(len(files)))].content
    return name, {
        "LIST": lambda: b"INFOISFT" + (6).to_bytes(4, "little") + b"Some\0\0",
        "JUNK": lambda: bytes(int(random.integers(0, 5000)) * 2),
        "bext": lambda: b"A description".ljust(602, b"\0"),
        "cue ": lambda: bytes(4),
        "id3 ": lambda: id3v2(random, int(random.choice([0, 80_000])), 0),
        "odd ": lambda: random.bytes(2 * int(random.integers(0, 300)) + 1),
    }[name]()


def _insert_chunk(
    case: Case, files: Sequence[Case], random: np.random.Generator, behind: bool
) -> Case | None:
    magic = case.content[:4]
    present = [part for part in chunks(case.content) if part.name in AUDIO_CHUNKS]
    if magic not in (b"RIFF", b"RF64", b"FORM", b"caff") or len(present) != 1:
        return None
    audio: Chunk = present[0]
    name, body = _chunk(case, files, random)
    pad = b"\0" * (len(body) % 2) if magic != b"caff" else b""
    padded = not pad or random.random() < 0.5
    size = len(body).to_bytes(audio.size.width, "big" if magic in (b"FORM", b"caff") else "little")
    data = name.encode() + size + body + (pad if padded else b"")
    length = audio.size.read(case.content)
    if magic == b"RF64":
        length = next(f for f in fields(case.content) if f.name == "ds64 data").read(case.content)
    elif audio.size.is_unknown(length):
        return None
    at = audio.at
    if behind:
        at = audio.body + length + (length % 2 if magic != b"caff" else 0)
    if at > len(case.content):
        return None
    label = f"chunk {name.strip()} {'behind' if behind else 'before'}"
    label += "" if padded else " without its pad byte"
    longer = _spliced(case, at, data, label, False if padded or behind else None)
    for field in fields(case.content):
        if field.role is Role.OUTER and field.name in ("RIFF", "FORM", "ds64 RIFF"):
            grown = field.read(case.content) + len(data)
            longer = replace(longer, content=field.write(longer.content, grown))
    return longer


def chunk_before(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Puts a chunk before that of the audio."""
    return _insert_chunk(case, files, random, behind=False)


def chunk_behind(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Puts a chunk behind that of the audio."""
    return _insert_chunk(case, files, random, behind=True)


def flac_block(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Puts a block of padding, or of an application, behind a FLAC file's STREAMINFO."""
    if not case.content.startswith(b"fLaC") or case.content[4] & 0x80:
        return None
    length = int(random.choice([0, 5, 4096, 80_000]))
    kind, body = ("padding", bytes(length)) if random.random() < 0.5 else ("block", b"")
    if kind == "block":
        body = b"test" + random.bytes(length)
    data = bytes([1 if kind == "padding" else 2]) + len(body).to_bytes(3, "big") + body
    return _spliced(case, 4 + 38, data, f"FLAC {kind}", False)


# Several files in one


def flac_frames(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Puts the frames of another FLAC file behind those of a FLAC file."""
    if not case.content.startswith(b"fLaC"):
        return None
    others = [file for file in files if file.content.startswith(b"fLaC")]
    other = others[int(random.integers(len(others)))].content
    at, last = 4, False
    while not last:
        last = other[at] >= 0x80
        at += 4 + int.from_bytes(other[at + 1 : at + 4], "big")
    longer = _behind(case, other[at:], "frames of another FLAC behind", None)
    return replace(longer, pieces=None)


def concatenate_same(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts another file of the same format behind it."""
    same = [file for file in files if file.form == case.form]
    other = same[int(random.integers(len(same)))]
    return _followed(case, other, "another of its format behind")


def concatenate_any(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts a file of any format behind it."""
    other = files[int(random.integers(len(files)))]
    return _followed(case, other, "another format behind")


def zipped(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case:
    """Puts the file into a ZIP archive, compressed or not."""
    method = zipfile.ZIP_STORED if random.random() < 0.5 else zipfile.ZIP_DEFLATED
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("recording." + case.suffix), case.content, method)
    content = file.getvalue()
    return _after(case, "ZIP", None, content=content, start=0, end=len(content), audio=False)


def raw(case: Case, files: Sequence[Case], random: np.random.Generator) -> Case | None:
    """Leaves nothing of a WAV file but its samples."""
    if case.form != "libsndfile WAV PCM_16" or case.changes:
        return None
    content = case.content[44:]
    return _after(case, "raw PCM", None, content=content, end=len(content), audio=False)


CHANGES: list[Change] = [
    declare, cut, cut_behind, start_inside, junk_before, junk_behind, tag_before, tag_behind,
    chunk_before, chunk_behind, flac_block, flac_frames, concatenate_same, concatenate_any,
    zipped, raw,
]  # fmt: skip
