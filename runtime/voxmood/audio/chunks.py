"""Containers whose header says how many bytes of audio follow: WAV, AIFF, CAF, AU and similar ones.

The size in the header may be wrong. It is too small if the recorder crashed, too large if a
transfer was interrupted, and means "unknown" if the file was written to a pipe. What follows the
audio shows which of these it is: chunks, tags and other files can be recognized by their form, and
samples cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from voxmood.audio.content import Content
from voxmood.audio.formats import begins_coded, is_text
from voxmood.audio.mpeg import is_mpeg
from voxmood.audio.parts import Part
from voxmood.audio.tags import begins_file, next_file, skip_tags, skip_zeros, tail_tags

UNKNOWN_BYTES = 0x7FFF0000  # programs that write to a pipe declare 2 or 4 GB
SLACK_BYTES = 64  # tolerated for padding and miscounting; a few milliseconds of audio
MAX_CHUNKS = 10_000
MAX_BLOCKS = 1 << 20  # of VOC; some writers begin a new one every few milliseconds
_CUT_CHUNKS = re.compile(
    rb"LIST|INFO|JUNK|PAD |FLLR|bext|cue |fact|PEAK|smpl|inst|i[dD]3 |ID3 |iXML|axml|_PMX|afsp|"
    rb"NAME|AUTH|ANNO|\(c\) |COMT|APPL|MARK|INST|MIDI|AESD|CHAN|free|pakt|info|strg|umid|uuid"
)
"""The names of chunks that are recognized even where the end of the file cuts them off."""


@dataclass(frozen=True)
class Layout:
    """How a family of containers is divided into chunks, each a name, a size and a body.

    Attributes:
        kind: the name of the container.
        header: the number of bytes before the first chunk.
        name_bytes: the number of bytes of a chunk's name.
        size_bytes: the number of bytes of a chunk's size.
        order: the order of the bytes of a size, `little` or `big`.
        align: the number of bytes that chunks are aligned to.
        inclusive: whether the size of a chunk also counts its name and its size.
        total: where the size of the whole file is, and how many of the first bytes it does not
            count; None if the container does not have it.
    """

    kind: str
    header: int
    name_bytes: int
    size_bytes: int
    order: str
    align: int
    inclusive: bool
    total: tuple[int, int] | None


LAYOUTS = {
    rb"(RIFF|RF64)....WAVE": Layout("WAV", 12, 4, 4, "little", 2, False, (4, 8)),
    rb"RIFX....WAVE": Layout("WAV", 12, 4, 4, "big", 2, False, (4, 8)),
    rb"FORM....AIF[FC]": Layout("AIFF", 12, 4, 4, "big", 2, False, (4, 8)),
    rb"FORM....(8SVX|16SV)": Layout("SVX", 12, 4, 4, "big", 2, False, (4, 8)),
    rb"riff\x2e\x91\xcf\x11": Layout("W64", 40, 16, 8, "little", 8, True, (16, 0)),
    rb"caff\x00\x01": Layout("CAF", 8, 4, 8, "big", 1, False, None),
}
"""The layouts, by what a file begins with."""

NEEDED = {"CAF": (b"desc", b"kuki", b"pakt", b"chan"), "WAV": (b"fmt ", b"fact", b"ds64")}
"""The chunks before the audio that libsndfile needs, by container. Others may mislead it: ALAC
behind 100 KB becomes silence, and MPEG frames in another chunk are decoded before those in `data`.
"""

# Of a chunk that is dropped from CAF.
LARGE_BYTES = 16 << 10

AUDIO_CHUNKS = (b"data", b"SSND", b"BODY")

VOC_END, VOC_MORE = 0, 2
VOC_AUDIO = {1: 2, 2: 0, 9: 12}
"""The bytes of the header of a VOC block with audio, by its kind; 2 continues the block before."""

MPEG = (0x50, 0x55)  # the tags of the format in the chunk `fmt ` for MP2 and MP3
GSM = (b"GSM ", b"agsm")  # what the chunk `COMM` calls GSM 6.10
GSM_BYTES, GSM_SAMPLES = 33, 160  # of a block

MS_ADPCM, IMA_ADPCM = 2, 0x11  # tags of the format in the chunk `fmt `
LARGEST_STEP = 88  # the number of the last step of IMA ADPCM

SDS_BYTES = 127  # of a packet of a sample dump


@dataclass(frozen=True)
class _Audio:
    """The audio of a container, as the header describes it.

    Attributes:
        body: the offset of the first sample.
        declared: the number of bytes of audio; None if the header says that it is unknown.
        align: the number of bytes that whatever follows the audio is aligned to.
        total: the end of the file according to the size of the whole; 0 if there is no such size.
        patches: what to write into the header if the audio turns out to reach the end of the file.
    """

    body: int
    declared: int | None
    align: int
    total: int
    patches: Mapping[int, bytes]


def chunked_part(content: Content, start: int) -> Part | None:
    """Return the recording in a container of chunks; None if there is no such container."""
    head = content.at(start, 12)
    found = (layout for magic, layout in LAYOUTS.items() if re.match(magic, head, re.DOTALL))
    layout = next(found, None)
    if layout is None:
        return None
    at, wide, form = start + layout.header, 0, 0
    unneeded: list[tuple[int, int]] = []
    for _ in range(MAX_CHUNKS):
        body = at + layout.name_bytes + layout.size_bytes
        name = content.at(at, layout.name_bytes)
        size = content.number(at + layout.name_bytes, layout.size_bytes, layout.order)
        if body > content.size:
            return None
        if name[:4] in AUDIO_CHUNKS:
            audio = _audio(content, start, layout, at, size, wide)
            part = _settled(content, start, "RF64" if wide else layout.kind, audio, layout)
            if part and unneeded and (layout.kind == "CAF" or content.number(form, 2) in MPEG):
                part = replace(part, pieces=tuple(_without(unneeded, *part.pieces[0])))
            if part and layout.kind == "AIFF" and content.at(form + 18, 4) in GSM:
                return _counted_gsm(content, form, audio, part)
            adpcm = layout.kind != "AIFF" and content.number(form, 2) in (MS_ADPCM, IMA_ADPCM)
            if part and form and adpcm:
                known = audio.declared and part.declared_ratio == 1
                stop = min(part.stop, audio.body + (audio.declared or 0)) if known else part.stop
                blocks = range(audio.body, stop, max(1, content.number(form + 12, 2)))
                part = replace(part, remark=_foreign_blocks(content, form, blocks))
            return part
        if name[:4] in (b"fmt ", b"COMM"):
            form = body
        if name == b"ds64":  # in RF64, for sizes that need more than 32 bits
            wide = body
        end = _end(at, size, layout)
        following = end + -(end - at) % layout.align
        small = layout.kind == "CAF" and size <= LARGE_BYTES
        if name not in NEEDED.get(layout.kind, (name,)) and not small:
            unneeded.append((at, following))
        at = following
    return None


def _without(
    dropped: Sequence[tuple[int, int]], start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Yield the pieces of a range that are left without some ranges in it, in order."""
    for begin, end in dropped:
        yield start, begin
        start = end
    yield start, stop


def au_part(content: Content, start: int) -> Part | None:
    """Return the recording in a Sun or NeXT audio file; None if it is not such a file."""
    magic = content.at(start, 4)
    if magic not in (b".snd", b"dns."):
        return None
    order = "big" if magic == b".snd" else "little"
    body = start + content.number(start + 4, 4, order)
    declared = content.number(start + 8, 4, order)
    known = None if declared >= UNKNOWN_BYTES else declared
    audio = _Audio(body, known, 1, 0, {start + 8: b"\xff" * 4})
    return _settled(content, start, "AU", audio, None)


def nist_part(content: Content, start: int) -> Part | None:
    """Return the recording in a NIST SPHERE file, which libsndfile reads to its end, or None."""
    header = content.at(start, 1024)
    if not header.startswith(b"NIST_1A\n"):
        return None
    fields = re.findall(rb"(\w+) -\w+ +(\d{1,15})\s", header)
    numbers = {name: int(number) for name, number in fields}
    frame = numbers.get(b"channel_count", 0) * numbers.get(b"sample_n_bytes", 0)
    length = re.match(rb"NIST_1A\n\s*(\d{1,9})\s", header)
    there = content.size - start - (int(length[1]) if length else 1024)
    declared = numbers.get(b"sample_count", 0) * frame
    stop = tail_tags(content, content.size)
    cut = 0 < there < declared - SLACK_BYTES
    audible = numbers.get(b"sample_rate", 0) * frame // 10
    further = 0 < declared < stop - content.size + there - max(audible, SLACK_BYTES)
    ratio = declared / there if cut or further else 1.0
    # Players do not know the file if something is in front of it.
    left_out = 0.0 if start else (content.size - stop) / max(1, there)
    return Part(((start, stop),), "NIST SPHERE", declared_ratio=ratio, left_out=left_out)


def voc_part(content: Content, start: int) -> Part | None:
    """Return the recording in a Creative Voice file, made of its blocks of audio, or None."""
    if content.at(start, 20) != b"Creative Voice File\x1a":
        return None
    at = start + content.number(start + 20, 2)
    pieces: list[tuple[int, int]] = []
    first = declared = there = 0
    form = b""
    for _ in range(MAX_BLOCKS):
        kind, size = content.number(at, 1), content.number(at + 1, 3)
        if kind == VOC_END or at >= content.size or (first and kind > max(VOC_AUDIO)):
            break
        stop = at + 4 + size
        if kind in VOC_AUDIO:
            kind_and_form = content.at(at, 1) + content.at(at + 4, VOC_AUDIO[kind])
            form = form or kind_and_form
            if kind != VOC_MORE and kind_and_form != form:  # it may have another sampling rate
                break
            if size == 0:
                stop = content.size
            body = at + 4 + VOC_AUDIO[kind]
            pieces.append((body if first else start, min(stop, content.size)))
            declared += stop - body
            there += max(0, min(stop, content.size) - body)
            first = first or at
        at = stop
    if not there:
        return None
    ended = content.number(at, 1) == VOC_END
    behind = min(content.size, at + 1) if ended else pieces[-1][1]
    ratio = declared / there if declared - there > SLACK_BYTES else 1.0
    left_out = 0.0
    if not ended:  # players read on where no block marks the end
        following = skip_zeros(content, skip_tags(content, behind))
        if not (_is_recording(content, following) or is_text(content.at(following, 512))):
            left_out = (content.size - following) / there
    part = Part(tuple(pieces), "VOC", declared_ratio=ratio, behind=behind, left_out=left_out)
    size = there + VOC_AUDIO[content.number(first, 1)]
    if size != content.number(first + 1, 3) and size < 1 << 24:
        part = replace(part, patches={first + 1: size.to_bytes(3, "little")})
    return part


def sds_part(content: Content, start: int) -> Part | None:
    """Return the recording in a MIDI sample dump, or None.

    It consists of packets with 120 bytes of audio, seven bits each.
    """
    head = content.at(start, 21)
    if len(head) < 21 or head[:2] != b"\xf0\x7e" or head[3] != 1 or not 8 <= head[6] <= 28:
        return None
    period = head[7] | head[8] << 7 | head[9] << 14  # ns
    packets = 0
    while content.at(start + 21 + packets * SDS_BYTES, SDS_BYTES).startswith(b"\xf0\x7e"):
        packets += 1
    stop = min(content.size, start + 21 + packets * SDS_BYTES)
    per_packet = 60 if head[6] < 15 else 40 if head[6] < 22 else 30
    held = packets * per_packet * period / 1e9
    return Part(((start, stop),), "SDS", held=held)


def _audio(content: Content, start: int, layout: Layout, at: int, size: int, wide: int) -> _Audio:
    """Return the audio chunk at an offset; `wide` is where the body of `ds64` begins, else 0."""
    head = layout.name_bytes + layout.size_bytes
    size_at, size_bytes = at + layout.name_bytes, layout.size_bytes
    known = size < UNKNOWN_BYTES or size <= content.size - at
    if wide:
        size_at, size_bytes = wide + 8, 8
        size = content.number(size_at, 8)
    if size_bytes == 8:
        known = size < 1 << 62
    order: Literal["little", "big"] = "big" if layout.order == "big" else "little"
    left_out = 0 if layout.inclusive else head
    stop = content.size if known else tail_tags(content, content.size)
    rest = min(stop - at - left_out, 256**size_bytes - 1)
    patches = {size_at: rest.to_bytes(size_bytes, order)}
    total = 0
    if layout.total:
        offset, before = layout.total
        total_at, total_bytes = (wide, 8) if wide else (start + offset, layout.size_bytes)
        size_of_all = content.number(total_at, total_bytes, layout.order)
        total = start + before + size_of_all if size_of_all <= content.size else 0
        all_of_it = min(stop - start - before, 256**total_bytes - 1)
        patches[total_at] = all_of_it.to_bytes(total_bytes, order)
    declared = max(0, size - (head if layout.inclusive else 0))
    return _Audio(at + head, declared if known else None, layout.align, total, patches)


def _settled(
    content: Content, start: int, kind: str, audio: _Audio, layout: Layout | None
) -> Part | None:
    """Return the recording with its true end, by its declared size and what follows the audio."""
    there = content.size - audio.body
    if there <= 0:
        return None
    whole = Part(((start, content.size),), kind)
    if audio.declared is None:
        stop = tail_tags(content, content.size)
        # Players do not know the file if something is in front of it.
        left_out = 0.0 if start else (content.size - stop) / max(1, stop - audio.body)
        patches: Mapping[int, bytes] = {}
        if kind in ("AU", "CAF"):  # libsndfile knows one form of an unknown size, and trusts others
            new = audio.patches.items()
            patches = {at: data for at, data in new if content.at(at, len(data)) != data}
        return replace(whole, pieces=((start, stop),), patches=patches, left_out=left_out)
    if audio.declared > there:
        if audio.declared - there <= SLACK_BYTES:
            return whole
        # libsndfile refuses a CAF file that is cut off.
        patches = audio.patches if kind == "CAF" else {}
        return replace(whole, patches=patches, declared_ratio=audio.declared / there)
    end, behind, known = _what_follows(content, audio, layout)
    rest = behind - end
    if not known and audio.declared == 0:
        # Players then read a WAV file to its end, and nothing of other files. A writer to a pipe
        # leaves both sizes empty.
        piped = audio.total == start + 8
        ratio = 1.0 if kind == "WAV" or piped else 0.0
        return replace(whole, patches=audio.patches, declared_ratio=ratio)
    goes_on = 2 * rest > audio.declared or audio.total > end + SLACK_BYTES
    if not known and rest > SLACK_BYTES and goes_on and not _is_text_behind(content, end):
        return replace(whole, patches=audio.patches, declared_ratio=audio.declared / there)
    # As above.
    unsized = kind == "AU" and start == 0 and behind == content.size
    left_out = rest / audio.declared if unsized else 0.0
    if kind in ("W64", "SVX", "AU"):  # libsndfile would read what follows as audio
        end = audio.body + audio.declared
    return replace(whole, pieces=((start, end),), behind=behind, left_out=left_out)


def _counted_gsm(content: Content, form: int, audio: _Audio, part: Part) -> Part:
    """Return a recording in GSM 6.10 with as many samples as it has blocks.

    libsndfile stops after the number of samples in the chunk `COMM`, whose body is at `form`.
    """
    stop = part.stop if audio.declared is None else audio.body + audio.declared
    offset = 8  # and the size of blocks, both of four bytes, before the audio
    there = (min(stop, content.size) - audio.body - offset) // GSM_BYTES * GSM_SAMPLES
    counted = content.number(form + 2, 4, "big")
    if counted > there - GSM_SAMPLES or part.declared_ratio != 1:
        return part
    patches = {**part.patches, form + 2: there.to_bytes(4, "big")}
    return replace(part, patches=patches, declared_ratio=counted / there)


def _foreign_blocks(content: Content, form: int, blocks: range) -> str | None:
    """Return a warning if what is declared as blocks of ADPCM is other data, or None.

    A block of MS ADPCM begins with the number of a predictor for each channel, and one of IMA ADPCM
    with a sample, the number of a step and a zero for each. Players leave out blocks with larger
    numbers than there are, and libsndfile decodes them to noise.

    Args:
        content: the content of the file.
        form: where the body of the chunk `fmt ` begins.
        blocks: where the blocks begin.
    """
    channels = content.number(form + 2, 2)
    if content.number(form, 2) == MS_ADPCM:
        name, largest = "MS ADPCM", content.number(form + 20, 2) - 1
        numbers = (content.at(at, channels) for at in blocks)
    else:
        name, largest = "IMA ADPCM", LARGEST_STEP
        numbers = (content.at(at, 4 * channels)[2::4] for at in blocks)
    foreign = sum(max(each, default=0) > largest for each in numbers)
    if not foreign:
        return None
    return (
        f"{foreign} of its {len(blocks)} blocks are not {name} and were read as noise; is it "
        "damaged, or cut off before another file?"
    )


def _what_follows(content: Content, audio: _Audio, layout: Layout | None) -> tuple[int, int, bool]:
    """Return where the container ends, where the next recording begins, and what is known.

    The second is the end of the file if there is no other recording. The third is whether
    everything that follows the audio was recognized.
    """
    end = audio.body + (audio.declared or 0)
    for _ in range(MAX_CHUNKS):
        # Some writers omit the byte that pads an odd size.
        padded = end + -(end - audio.body) % audio.align
        chunk = next(
            (at for at in (end, padded) if layout and _is_chunk(content, at, layout, audio.total)),
            None,
        )
        if layout is None or chunk is None:
            end = min(content.size, padded)
            break
        size = content.number(chunk + layout.name_bytes, layout.size_bytes, layout.order)
        end = min(content.size, _end(chunk, size, layout))
    behind = skip_zeros(content, skip_tags(content, end))
    if behind >= content.size and (audio.declared or 0) < SLACK_BYTES < content.size - end:
        return end, behind, False  # silence that a recorder wrote before it died, and no padding
    if behind >= content.size or _is_recording(content, behind):
        return end, behind, True
    if begins_coded(content, behind):
        return end, content.size, True
    other = next_file(content, behind)
    return end, other if other >= 0 else content.size, other >= 0


def _is_recording(content: Content, at: int) -> bool:
    return begins_file(content, at) or is_mpeg(content, at)


def _is_text_behind(content: Content, end: int) -> bool:
    """Return whether text follows the audio, directly or behind tags and zeros."""
    return is_text(content.at(skip_zeros(content, skip_tags(content, end)), 512))


def _is_chunk(content: Content, at: int, layout: Layout, total: int) -> bool:
    """Return whether a chunk begins at an offset, even if the file ends within the chunk."""
    name = content.at(at, layout.name_bytes)
    if len(name) < layout.name_bytes or begins_file(content, at):
        return False
    if _CUT_CHUNKS.match(name):
        return True
    if not (name[:4].isascii() and name[:4].decode("ascii").isprintable()):
        return False
    size = content.number(at + layout.name_bytes, layout.size_bytes, layout.order)
    end = _end(at, size, layout)
    return end <= content.size + 1 or abs(end - total) <= 1


def _end(at: int, size: int, layout: Layout) -> int:
    """Return where the chunk at an offset ends."""
    head = layout.name_bytes + layout.size_bytes
    return at + max(head, size if layout.inclusive else head + size)
