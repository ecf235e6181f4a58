"""Which recordings a file holds, by its structure: one, or several one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from voxmood.audio.chunks import au_part, chunked_part, nist_part, voc_part
from voxmood.audio.content import Content
from voxmood.audio.flac import flac_parts
from voxmood.audio.mpeg import mpeg_parts
from voxmood.audio.ogg import ogg_parts
from voxmood.audio.parts import Part
from voxmood.audio.tags import skip_tags, tag_length

MAX_PARTS = 1000

SINGLE: tuple[Callable[[Content, int], Part | None], ...] = (
    chunked_part,
    au_part,
    nist_part,
    voc_part,
)


def find_parts(content: Content) -> list[Part]:
    """Return the recordings of a file in their order; none where its structure is not known."""
    parts: list[Part] = []
    at = 0
    while at < content.size and len(parts) < MAX_PARTS:
        at = skip_tags(content, at)
        found = _parts_at(content, at)
        if not found:
            break
        parts += found
        at = parts[-1].stop
    if len(parts) == 1:
        # libsndfile skips one tag in front by itself.
        (first, stop), *others = parts[0].pieces
        if first and first == tag_length(content, 0):
            parts[0] = replace(parts[0], pieces=((0, stop), *others))
    return parts


def _parts_at(content: Content, at: int) -> list[Part]:
    for read in SINGLE:
        if part := read(content, at):
            return [part]
    return ogg_parts(content, at) or flac_parts(content, at) or mpeg_parts(content, at)
