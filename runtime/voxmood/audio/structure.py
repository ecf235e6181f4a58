"""The recordings in a file, found by its structure: one, or several one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from voxmood.audio.chunks import au_part, chunked_part, nist_part, sds_part, voc_part
from voxmood.audio.content import Content
from voxmood.audio.flac import flac_parts
from voxmood.audio.mpeg import mpeg_parts
from voxmood.audio.ogg import ogg_parts
from voxmood.audio.parts import Part
from voxmood.audio.tags import skip_front, skip_tags, tag_length, tail_tags

MAX_PARTS = 1000
UNDIVIDED = re.compile(
    rb"2BIT|\x64\xa3[\x01-\x04]\x00|\x00[\x01-\x04]\xa3\x64| paf|fap |PVF1"
    rb"|Extended Instrument: |ALawSoundFile|MATLAB 5\.0"
)
"""How the files begin that libsndfile reads and that are not taken apart here: AVR, IRCAM, PAF,
PVF, XI, WVE, and MAT. A search for MPEG frames could find another recording in them."""

SINGLE: tuple[Callable[[Content, int], Part | None], ...] = (
    chunked_part,
    au_part,
    nist_part,
    sds_part,
    voc_part,
)

SEVERAL: tuple[Callable[[Content, int], list[Part]], ...] = (ogg_parts, flac_parts, mpeg_parts)


def find_parts(content: Content) -> list[Part]:
    """Return the recordings in a file, in their order; there is always at least one."""
    parts: list[Part] = []
    at = skip_tags(content, 0)
    undivided = UNDIVIDED.match(content.at(at, 32))
    while at < content.size and len(parts) < MAX_PARTS and not undivided:
        found = _parts_at(content, at)
        if not found and not parts:
            at = skip_front(content)
            found = _parts_at(content, at)
        if not found:
            break
        parts += found
        at = skip_tags(content, parts[-1].stop)
    if not parts:
        stop = tail_tags(content, content.size) or content.size
        return [Part(((0, stop),), "", left_out=(content.size - stop) / stop)]
    if len(parts) == 1 and parts[0].kind == "MP3":
        # libsndfile itself skips one ID3v2 tag at the beginning.
        (first, stop), *others = parts[0].pieces
        if content.at(0, 3) == b"ID3" and first == tag_length(content, 0):
            parts[0] = replace(parts[0], pieces=((0, stop), *others))
    return parts


def _parts_at(content: Content, at: int) -> list[Part]:
    for read in SINGLE:
        if part := read(content, at):
            return [part]
    found: list[list[Part]] = []
    for read_all in SEVERAL:
        if parts := read_all(content, at):
            if parts[0].pieces[0][0] == at:
                return parts
            found.append(parts)  # behind other data, in which another recording may begin before it
    return min(found, key=lambda parts: parts[0].pieces[0][0], default=[])
