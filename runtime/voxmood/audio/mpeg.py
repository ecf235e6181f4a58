"""MP3, MP2 and MP1 files: a walk over their frames, which no header counts reliably.

An MPEG audio stream consists of frames in a row. To decode a frame, a decoder needs only the few
frames before it. Tags, padding and junk between frames are skipped. Where files were put together
with `cat`, the header frame of the second one shows it, or another sampling rate or number of
channels. The headers of frames are those of ISO/IEC 11172-3, 2.4.1.3. The header frames are the
tags of Xing and LAME, and Fraunhofer's VBRI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from voxmood.audio.content import Content
from voxmood.audio.parts import Part
from voxmood.audio.tags import begins_file, skip_tags, skip_zeros, tag_length

MAX_JUNK_BYTES = 256 << 10  # before a frame
CONFIRMED = 4  # so many frames in a row do not occur in other data by chance
MAX_PARTS = 1000
AUDIBLE_SECONDS = 0.1

BITRATES = {  # in kbit/s, by whether the version is MPEG 1, and by layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""The sampling rates in Hz by the bits of the version: MPEG 1, MPEG 2, MPEG 2.5."""

SIDE_BYTES = {(True, 2): 32, (True, 1): 17, (False, 2): 17, (False, 1): 9}
"""The bytes of side information after the header of a frame, by whether the version is MPEG 1, and
by the number of channels."""


class Frame(NamedTuple):
    """What the four bytes of a frame's header say; all frames of a stream have the same `form`."""

    length: int
    samples: int
    form: tuple[int, int, int, int]
    """The bits of the version, the layer, the sampling rate in Hz and the number of channels."""


def frame_at(content: Content, offset: int) -> Frame | None:
    """Return the frame whose header is at an offset; None if there is none."""
    header = content.at(offset, 4)
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    return _frame(header[1], header[2], header[3] >> 6)


@lru_cache(4096)
def _frame(second: int, third: int, mode: int) -> Frame | None:
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate, rate = third >> 4, third >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    kbits, hertz = BITRATES[version == 3, layer][bitrate - 1], RATES[version][rate]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1  # bytes that padding adds
    length = (samples // 8 * kbits * 1000 // hertz // slot + (third >> 1 & 1)) * slot
    return Frame(length, samples, (version, layer, hertz, 1 if mode == 3 else 2))


@dataclass
class _Stream:
    """The frames of one stream, and what its header frame says about them."""

    form: tuple[int, int, int, int]
    header: _Header | None
    pieces: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    samples: int = 0
    cut_off: int = 0  # samples of a last frame that is not all there
    shortest: int = 1 << 20
    longest: int = 0

    @property
    def stop(self) -> int:
        return self.pieces[-1][1]

    @property
    def constant(self) -> bool:
        """Whether all frames have the same bitrate, apart from padding."""
        return self.longest - self.shortest <= 4

    def add(self, at: int, stop: int) -> None:
        if self.pieces and self.pieces[-1][1] == at:
            self.pieces[-1] = (self.pieces[-1][0], stop)
        else:
            self.pieces.append((at, stop))


@dataclass(frozen=True)
class _Header:
    """The frame at the beginning of a stream that counts its frames and has no sound.

    Attributes:
        is_xing: whether it is Xing's, which decoders know, or else Fraunhofer's.
        frames: the number of frames that follow; 0 if it does not say.
        length: the length of the frame itself, in bytes.
        trimmed: the samples that the encoder added at both ends, and that decoders remove.
        trimmed_at: the offset of the numbers of these samples, 12 bits for each end; 0 if there
            are none.
        mark_at: the offset of the four letters by which decoders recognize it.
        frames_at: the offset of the number of frames; 0 if it is not there.
        size_at: the offset of the number of bytes of the stream; 0 if it is not there.
        size: the number of bytes of the stream, as it stands there.
    """

    is_xing: bool
    frames: int
    length: int
    trimmed: int
    trimmed_at: int
    mark_at: int
    frames_at: int
    size_at: int
    size: int


def is_mpeg(content: Content, offset: int) -> bool:
    """Return whether several MPEG frames in a row begin at an offset."""
    return _is_run(content, offset, CONFIRMED)


def mpeg_parts(content: Content, start: int) -> list[Part]:
    """Return the MPEG streams that begin at an offset or soon after it, in their order."""
    first = _next_run(content, start, min(content.size, start + MAX_JUNK_BYTES), CONFIRMED)
    if first < 0:
        return []
    streams: list[_Stream] = []
    for at, frame in _frames(content, first):
        header = _header(content, at, frame)
        if not streams or header or frame.form != streams[-1].form:
            if len(streams) == MAX_PARTS:
                break
            streams.append(_Stream(frame.form, header))
        if at + frame.length > content.size and streams[-1].frames:
            streams[-1].cut_off = frame.samples
            break  # decoders fail on a frame that is cut off, or invent its end
        streams[-1].add(at, min(at + frame.length, content.size))
        if header is None:
            streams[-1].frames += 1
            streams[-1].samples += frame.samples
            streams[-1].shortest = min(streams[-1].shortest, frame.length)
            streams[-1].longest = max(streams[-1].longest, frame.length)
    streams = [stream for stream in streams if stream.frames]
    if len(streams) == 1 and len(streams[0].pieces) == 1 and first == start:
        # The file is decoded as it is, including tags at its end, which decoders know.
        end = content.size if _only_tags(content, streams[0].pieces[0][1]) else streams[0].stop
        streams[0].pieces = [(start, end)]
    last = len(streams) - 1
    parts = [_part(content, stream, number, last) for number, stream in enumerate(streams)]
    looked_at = _players_look_at(content, start)
    if parts and looked_at != first:
        parts[0] = replace(parts[0], remark=_padding(streams[0], first - looked_at))
    return parts


def _part(content: Content, stream: _Stream, number: int, last: int) -> Part:
    _, _, rate, _ = stream.form
    part = Part(tuple(stream.pieces), "MP3", held=stream.samples / rate, form=stream.form[:3])
    header = stream.header
    # A decoder estimates the number of frames from the size of the file and the first frame.
    claimed = 0 if stream.constant else stream.frames * stream.longest
    if header is None or not (header.frames or header.is_xing):
        return replace(part, claimed=claimed)
    per_frame = stream.samples // stream.frames
    if 0 < header.frames < stream.frames - 1 or not (number or header.is_xing):
        # The header frame is left out, since a decoder would stop where it says, or does not know
        # it.
        (first, stop), *others = stream.pieces
        part = replace(part, pieces=((first + header.length, stop), *others), claimed=claimed)
    if 0 < header.frames < stream.frames - 1:
        return replace(part, declared_ratio=header.frames / stream.frames)
    if number:
        # After another stream, players decode the header frame like any frame, which is silent, and
        # keep what encoders add at both ends.
        return replace(
            part,
            patches={header.mark_at: bytes(4)},
            claimed=(stream.frames + 1) * max(stream.longest, header.length),
            declared=(header.frames + 1) * per_frame / rate if header.frames else None,
            held=(stream.samples + per_frame) / rate,
        )
    if not header.is_xing:
        return replace(part, declared=header.frames * per_frame / rate)
    if not header.frames and not header.frames_at:
        return replace(part, claimed=claimed)
    counted = header.frames or stream.frames
    declared = max(0, counted * per_frame - header.trimmed) / rate
    held = max(0, stream.samples - header.trimmed) / rate
    patches = {}
    if not header.frames:  # without a count, a decoder would keep what the encoder added
        patches[header.frames_at] = counted.to_bytes(4, "big")
    fed = sum(stop - start for start, stop in stream.pieces)
    if header.size_at and abs(fed - header.size) > header.size // 200:
        # A decoder would print a complaint about a wrong size.
        patches[header.size_at] = min(fed, 256**4 - 1).to_bytes(4, "big")
    if last and header.trimmed_at:
        # Before another stream, players keep what the encoder added at the end.
        added = content.number(header.trimmed_at, 3, "big")
        patches[header.trimmed_at] = (added & ~0xFFF).to_bytes(3, "big")
    return replace(part, patches=patches, declared=declared, held=held)


def _players_look_at(content: Content, start: int) -> int:
    """Return the offset at which players look for the header frame of the stream at an offset.

    In front of a file, they know tags of the kind ID3v2 only.
    """
    at = 0
    while content.at(at, 3) == b"ID3" and (length := tag_length(content, at)):
        at += length
    return at if skip_tags(content, at) == start else start


def _padding(stream: _Stream, skipped: int) -> str | None:
    """Return a warning where players do not find the header frame, since it is not at the start."""
    if not (stream.header and stream.header.trimmed):
        return None
    added = (stream.header.trimmed + stream.cut_off) / stream.form[2]
    if added <= AUDIBLE_SECONDS:
        return None
    return (
        f"{skipped} bytes before its first frame are not audio and were skipped; in players it may "
        f"be {added:.1f} s longer"
    )


def _frames(content: Content, at: int) -> Iterator[tuple[int, Frame]]:
    """Yield the offset of each frame and the frame, from a first one on; skip what is between."""
    form = None
    while at < content.size:
        frame = frame_at(content, at)
        if frame and (frame.form == form or _is_run(content, at, CONFIRMED)):
            form = frame.form
            yield at, frame
            at += frame.length
            continue
        if begins_file(content, at):
            return
        behind = skip_tags(content, at)
        if behind == at:
            behind = _next_run(content, at + 1, at + MAX_JUNK_BYTES, CONFIRMED)
        if behind < 0:
            return
        at = behind


def _is_run(content: Content, at: int, count: int, *, alone: bool = True) -> bool:
    """Return whether at least `count` frames of one form follow each other.

    Two are enough before the end of the file, before a tag, and, if `alone` is set, before a run of
    frames of another form.
    """
    form = None
    for number in range(count):
        frame = frame_at(content, at)
        if frame is None or (form and frame.form != form):
            return number > 1 and (
                at >= content.size
                or tag_length(content, at) > 0
                or (alone and _is_run(content, at, count, alone=False))
            )
        form = frame.form
        at += frame.length
    return True


def _next_run(content: Content, start: int, stop: int, count: int) -> int:
    """Return the offset of the next frame that other frames follow, or -1."""
    while (start := content.find(b"\xff", start, stop)) >= 0:
        if _is_run(content, start, count):
            return start
        start += 1
    return -1


def _header(content: Content, at: int, frame: Frame) -> _Header | None:
    data = content.at(at, min(frame.length, 256))
    version, layer, _, channels = frame.form
    if layer != 3:
        return None
    if data[36:40] == b"VBRI":
        frames = int.from_bytes(data[50:54], "big")
        return _Header(False, frames, frame.length, 0, 0, at + 36, 0, 0, 0)
    checksum = 0 if data[1] & 1 else 2  # bytes
    tag = 4 + checksum + SIDE_BYTES[version == 3, channels]
    if data[tag : tag + 4] not in (b"Xing", b"Info"):
        return None
    flags, offset = data[tag + 7], tag + 8
    frames = frames_at = size_at = size = trimmed = trimmed_at = 0
    if flags & 1:
        frames_at, frames = at + offset, int.from_bytes(data[offset : offset + 4], "big")
        offset += 4
    if flags & 2:
        size_at, size = at + offset, int.from_bytes(data[offset : offset + 4], "big")
        offset += 4
    offset += (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    if data[offset : offset + 3] in (b"LAM", b"Lav"):
        trimmed_at = at + offset + 21
        added = content.number(trimmed_at, 3, "big")
        trimmed = (added >> 12) + (added & 0xFFF)
    marks = (at + tag, frames_at, size_at)
    return _Header(True, frames, frame.length, trimmed, trimmed_at, *marks, size)


def _only_tags(content: Content, at: int) -> bool:
    return skip_zeros(content, skip_tags(content, at)) >= content.size
