"""Ogg files: a walk over their pages, which may be those of several streams in a row (RFC 3533).

Where streams were put together, decoders read only the first one. A new stream begins where a page
is marked as the beginning of one, and the page before it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from voxmood.audio.content import Content
from voxmood.audio.mpeg import is_mpeg
from voxmood.audio.parts import Part
from voxmood.audio.tags import begins_file, skip_tags

HEADER_BYTES = 27
BEGINS, ENDS = 2, 4  # flags of a page
NO_POSITION = (1 << 64) - 1  # the position of a page on which no packet ends
OPUS_RATE = 48_000  # Hz; Opus counts at this rate, whatever the rate of the original was
MAX_PARTS = 1000


class _Page(NamedTuple):
    at: int
    stop: int
    body: int
    flags: int
    position: int
    serial: int


@dataclass
class _Link:
    """One of the streams that follow each other in a file.

    Attributes:
        start: the offset of its first page.
        stop: the offset at which its last page ends.
        begun: whether all pages that are marked as its beginning have been read.
        serial: the serial number of its audio; None if it has no audio of a known codec.
        rate: the rate that its positions count, in Hz.
        channels: the number of channels of its audio.
        skipped: the positions before the audio begins.
        first: the first position that a page states; None if none does.
        last: the position at which the audio ends.
        ended: whether the mark at its end was there.
    """

    start: int
    stop: int
    begun: bool = False
    serial: int | None = None
    rate: int = 0
    channels: int = 0
    skipped: int = 0
    first: int | None = None
    last: int = 0
    ended: bool = False


def ogg_parts(content: Content, start: int) -> list[Part]:
    """Return the Ogg streams that follow each other from an offset on; usually one."""
    links: list[_Link] = []
    for page in _pages(content, start):
        if page.flags & BEGINS and (not links or links[-1].begun):
            if len(links) == MAX_PARTS:
                break
            links.append(_Link(page.at, page.stop))
        elif not links:
            return []
        link = links[-1]
        link.stop = min(page.stop, content.size)
        if page.flags & BEGINS:
            _identify(content.at(page.body, 64), page.serial, link)
            continue
        link.begun = True
        if page.serial == link.serial and page.stop <= content.size:
            if page.position != NO_POSITION:
                if link.first is None and page.position:
                    link.first = page.position
                link.last = max(link.last, page.position)
            link.ended = bool(page.flags & ENDS)
    if len(links) == 1 and links[0].stop < content.size:
        behind = skip_tags(content, links[0].stop)
        if not (begins_file(content, behind) or is_mpeg(content, behind)):
            links[0].stop = content.size
    return [_part(link) for link in links]


def _part(link: _Link) -> Part:
    held = None
    if link.rate and link.first is not None:
        # A recording that was cut out of a longer one does not begin at 0.
        begin = link.first if link.first > 2 * link.rate else link.skipped
        held = max(0, link.last - begin) / link.rate
    return Part(
        ((link.start, link.stop),),
        "Ogg",
        held=held,
        form=(link.rate, link.channels),
        unfinished=not link.ended,
    )


def _identify(packet: bytes, serial: int, link: _Link) -> None:
    if packet[:7] == b"\x01vorbis" and len(packet) > 15:
        link.serial, link.rate = serial, int.from_bytes(packet[12:16], "little")
        link.channels = packet[11]
    elif packet[:8] == b"OpusHead" and len(packet) > 11:
        link.serial, link.rate, link.channels = serial, OPUS_RATE, packet[9]
        link.skipped = int.from_bytes(packet[10:12], "little")
    elif packet[:5] == b"\x7fFLAC" and len(packet) > 29:
        # A header of 8 bytes, fLaC, and STREAMINFO follow.
        link.serial, link.rate = serial, int.from_bytes(packet[27:30], "big") >> 4
        link.channels = (packet[29] >> 1 & 7) + 1
    elif packet[:8] == b"Speex   ":
        link.serial, link.rate = serial, int.from_bytes(packet[36:40], "little")


def _pages(content: Content, at: int) -> Iterator[_Page]:
    while at >= 0:
        header = content.at(at, HEADER_BYTES + 255)
        if header[:4] != b"OggS" or len(header) < HEADER_BYTES:
            if begins_file(content, at) and not header.startswith(b"OggS"):
                return
            at = content.find(b"OggS", at + 1, content.size)
            continue
        body = at + HEADER_BYTES + header[26]
        stop = body + sum(header[HEADER_BYTES : HEADER_BYTES + header[26]])
        yield _Page(
            at,
            stop,
            body,
            header[5],
            int.from_bytes(header[6:14], "little"),
            int.from_bytes(header[14:18], "little"),
        )
        at = stop if stop < content.size else -1
