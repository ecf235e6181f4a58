"""FLAC files: their true length, from the header of the last frame (RFC 9639, section 9.1)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from voxmood.audio.content import Content
from voxmood.audio.parts import Part
from voxmood.audio.tags import tail_tags, tail_zeros

MARKER = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
MARKER_BYTES = b"fLaC"
STREAMINFO_BYTES = 42  # including the marker and the header of the block
TOTAL_AT = 21  # from the marker on; the number of samples is 36 bits, the first 4 in this byte
MAX_PARTS = 1000
MAX_TRIED = 5000  # places that look like the header of a frame
TAIL_BYTES = 1 << 20  # the last frame begins within so many bytes of the end
BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}} | {
    code: 256 << code - 8 for code in range(8, 16)
}
RATES = dict(
    enumerate(
        (88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000), start=1
    )
)
"""The sampling rate in Hz by its code in the header of a frame; 12 to 14 mean that it follows."""

DEPTHS = (0, 8, 12, -1, 16, 20, 24, 32)
"""The bits of a sample by their code in the header of a frame; 0 means the depth of the file, and
-1 that the code is not allowed."""


class _Frame(NamedTuple):
    start: int  # in samples
    samples: int
    rate: int


def flac_parts(content: Content, start: int) -> list[Part]:
    """Return the FLAC recordings that follow each other from an offset on; usually one."""
    parts: list[Part] = []
    while MARKER.match(content.at(start, 8)) and len(parts) < MAX_PARTS:
        following = _next_marker(content, start + STREAMINFO_BYTES)
        stop = following if following >= 0 else content.size
        parts.append(_part(content, start, stop))
        start = stop
    return parts


def _part(content: Content, start: int, stop: int) -> Part:
    info = content.at(start, STREAMINFO_BYTES)
    rate = int.from_bytes(info[18:21], "big") >> 4
    packed = int.from_bytes(info[TOTAL_AT : TOTAL_AT + 5], "big")
    total = packed & (1 << 36) - 1
    end = tail_zeros(content, tail_tags(content, stop))
    end = end if end > start + STREAMINFO_BYTES else stop
    whole = Part(((start, end),), "FLAC", declared=total / rate if rate and total else None)
    whole = replace(whole, form=(rate, info[20] >> 1 & 7))
    if not rate:
        return whole
    last, mixed = _last_frame(content, info, start + STREAMINFO_BYTES, end)
    if last is None:
        return replace(whole, mixed=mixed)
    held = last.start + last.samples
    mixed = mixed or last.rate not in (0, rate) or _begins_anew(content, info, start, end)
    whole = replace(whole, held=held / rate, mixed=mixed)
    if not 0 < total < held:
        return whole
    # Without the patch, the decoder would stop where the header says.
    patch = (packed >> 36 << 36 | held).to_bytes(5, "big")
    return replace(
        whole, patches={start + TOTAL_AT: patch}, declared=None, declared_ratio=total / held
    )


def is_frame(head: bytes) -> bool:
    """Return whether some bytes begin with the header of a FLAC frame."""
    return head[:1] == b"\xff" and head[1:2] in (b"\xf8", b"\xf9") and bool(_frame(head[:20], None))


def _next_marker(content: Content, start: int) -> int:
    """Return the offset at which the next FLAC file begins, or -1."""
    while (start := content.find(MARKER_BYTES, start, content.size)) >= 0:
        info = content.at(start, STREAMINFO_BYTES)
        if MARKER.match(info) and int.from_bytes(info[18:21], "big") >> 4:
            return start
        start += 4
    return -1


def _last_frame(content: Content, info: bytes, start: int, stop: int) -> tuple[_Frame | None, bool]:
    """Return the last frame of the file within a range, and whether frames of others follow it."""
    first = max(start, stop - TAIL_BYTES)
    tail = content.at(first, stop - first)
    at, others = len(tail), 0
    for _ in range(MAX_TRIED):
        at = max(tail.rfind(b"\xff\xf8", 0, at), tail.rfind(b"\xff\xf9", 0, at))
        if at < 0:
            break
        header = tail[at : at + 20]
        if frame := _frame(header, info):
            return frame, others > 1
        others += _frame(header, None) is not None  # a single one may be there by chance
    return None, others > 1


def _begins_anew(content: Content, info: bytes, start: int, stop: int) -> bool:
    """Return whether the header of the first frame occurs a second time."""
    at = start + len(MARKER_BYTES)
    last = False
    while not last and at < stop:
        block = content.at(at, 4)
        last, at = bool(block[0] & 0x80), at + 4 + int.from_bytes(block[1:], "big")
    first = content.at(at, 6)  # including its checksum, since its number takes one byte
    return _frame(content.at(at, 20), info) is not None and content.find(first, at + 6, stop) >= 0


def _frame(header: bytes, info: bytes | None) -> _Frame | None:
    """Return what the header of a frame says; None if it is not one, or does not fit `info`."""
    if len(header) < 6:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    channel_code, depth_code = header[3] >> 4, header[3] >> 1 & 7
    if size_code == 0 or rate_code == 15 or channel_code > 10 or header[3] & 1:
        return None
    if info:
        channels, depth = (info[20] >> 1 & 7) + 1, ((info[20] & 1) << 4 | info[21] >> 4) + 1
        if (channel_code + 1 if channel_code < 8 else 2) != channels:
            return None
        if DEPTHS[depth_code] not in (0, depth):
            return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # the first bits, as in UTF-8
    if ones in (1, 8):
        return None
    at = 4 + max(1, ones)
    number = header[4] & (0x7F >> ones if ones else 0x7F)
    for digit in header[5:at]:
        number = number << 6 | digit & 0x3F
    extra = {6: 1, 7: 2}.get(size_code, 0)
    samples = int.from_bytes(header[at : at + extra], "big") + 1
    samples = samples if extra else BLOCK_SIZES[size_code]
    at += extra
    extra = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    rate = int.from_bytes(header[at : at + extra], "big") * {12: 1000, 14: 10}.get(rate_code, 1)
    at += extra
    if at >= len(header) or _crc8(header[:at]) != header[at]:
        return None
    varies = header[1] & 1
    block = int.from_bytes(info[8:10], "big") if info else 0
    return _Frame(number if varies else number * block, samples, rate or RATES.get(rate_code, 0))


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc
