"""Tags and padding, which may come before and after a recording in any format."""

from __future__ import annotations

import re

from voxmood.audio.content import CACHE_BYTES, Content

MAX_LYRICS_BYTES = 64 << 10
SEARCH_BYTES = 1 << 20
PADDING_BYTES = 64
_BEGINS_FILE = re.compile(
    rb"(RIFF|RIFX|RF64).{4}WAVE|FORM.{4}(AIFF|AIFC|8SVX|16SV)|riff\x2e\x91\xcf\x11"
    rb"|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02|caff\x00\x01|\.snd\x00\x00|NIST_1A\n"
    rb"|Creative Voice File\x1a",
    re.DOTALL,
)


def begins_file(content: Content, offset: int) -> bool:
    """Return whether the header of an audio file is at an offset; MP3 files have no header."""
    return _BEGINS_FILE.match(content.at(offset, 20)) is not None


def tag_length(content: Content, offset: int) -> int:
    """Return how many bytes the tag at an offset takes, or 0 if there is no tag.

    ID3v1, ID3v2, APEv2 and Lyrics3 are known.
    """
    head = content.at(offset, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = 0
        for digit in head[6:10]:  # seven bits each
            size = size << 7 | digit
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:4] == b"TAG+" and offset + 227 + 128 <= content.size:
        return 227
    if head[:3] == b"TAG" and offset + 128 <= content.size:
        return 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size = int.from_bytes(head[12:16], "little")  # of items and footer
        is_header = head[23] & 0x20
        return 32 + size if is_header else 32
    if head[:11] == b"LYRICSBEGIN":
        end = content.find(b"LYRICS", offset + 11, offset + MAX_LYRICS_BYTES)
        return end + 9 - offset if end > 0 else 0
    return 0


def skip_tags(content: Content, offset: int) -> int:
    """Return the offset at which all tags that begin at an offset end."""
    while length := tag_length(content, offset):
        offset += length
    return min(offset, content.size)


def skip_front(content: Content) -> int:
    """Return the offset of the first byte of a file that is neither a zero nor part of a tag."""
    start = -1
    at = 0
    while start != at:
        start = at
        at = skip_zeros(content, skip_tags(content, at))
    return at


def skip_zeros(content: Content, offset: int) -> int:
    """Return the first offset, from a given one on, at which the byte is not zero."""
    while block := content.at(offset, CACHE_BYTES):
        if rest := block.lstrip(b"\0"):
            return offset + len(block) - len(rest)
        offset += len(block)
    return min(offset, content.size)


def tail_zeros(content: Content, stop: int) -> int:
    """Return where the zeros that end at an offset begin; a few zeros are not padding."""
    start = stop
    while block := content.at(max(0, start - CACHE_BYTES), min(start, CACHE_BYTES)):
        kept = len(block.rstrip(b"\0"))
        start -= len(block) - kept
        if kept:
            break
    return start if stop - start >= PADDING_BYTES else stop


def next_file(content: Content, start: int) -> int:
    """Return the offset of the next header of an audio file from an offset on, or -1."""
    while block := content.at(start, SEARCH_BYTES):
        if found := _BEGINS_FILE.search(block):
            return start + found.start()
        if len(block) < SEARCH_BYTES:
            break
        start += SEARCH_BYTES - 20
    return -1


def tail_tags(content: Content, stop: int) -> int:
    """Return where the tags that end at an offset begin, or the offset itself if there are none."""
    while True:
        if content.at(stop - 128, 3) == b"TAG":
            stop -= 128
        elif content.at(stop - 32, 8) == b"APETAGEX":
            footer = content.at(stop - 32, 32)
            has_header = footer[23] & 0x80
            size = int.from_bytes(footer[12:16], "little")  # of items and footer
            stop -= max(32, size) + (32 if has_header else 0)
        else:
            return max(0, stop)
