"""The license of a checkpoint, which a bundle repeats: its name and, if it is there, its text."""

from __future__ import annotations

import re

from huggingface_hub import ModelCard

from voxmood_export.checkpoint.files import CARD, LICENSES, CheckpointFiles

MAX_CARD_BYTES = 1 << 20  # what is read of a card; its metadata comes first
MAX_TEXT_BYTES = 1 << 16  # of a license; a longer text is left out, since a part would mislead
HEADING = re.compile(r"(#+)\s+(.*)")
LICENSE_HEADING = re.compile(r"\W*((model|weights?)\s+)?licen[sc]e\W*", re.IGNORECASE)
UNKNOWN = "unknown"


def read_license(files: CheckpointFiles) -> str:
    """Return the license that a checkpoint's model card names, or "unknown".

    Licenses of a hub's list have short names. Of another one the card says the name and the place.
    A card that is missing, damaged or without a license is no reason to refuse a checkpoint.
    """
    try:
        text = _beginning(files, CARD, MAX_CARD_BYTES)
        if not text.lstrip().startswith("---"):
            return UNKNOWN  # without metadata, which the parser would warn about
        data = ModelCard(text, ignore_metadata_errors=True).data
        name = data.license
        if name == "other" and data.get("license_name"):
            link = data.get("license_link")
            name = f"{data.license_name} ({link})" if link else data.license_name
    except Exception:  # whatever the parsers of cards and of YAML raise
        return UNKNOWN
    return name if isinstance(name, str) and name and name.isprintable() else UNKNOWN


def read_license_text(files: CheckpointFiles) -> tuple[str, ...]:
    """Return the lines of the license's text, or none if a checkpoint does not have the text.

    It is that of the folder's file of the license, or else the section License of the model card.
    """
    for name in LICENSES:
        if lines := _lines(_beginning(files, name, MAX_TEXT_BYTES + 1)):
            return lines
    return _lines(_section(_beginning(files, CARD, MAX_CARD_BYTES)))


def _beginning(files: CheckpointFiles, name: str, most: int) -> str:
    """Return so many bytes of a file as text, or nothing if it cannot be read."""
    if not files.has(name):
        return ""
    try:
        with (files.folder / name).open("rb") as file:
            return file.read(most).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text without what a terminal obeys; none of a text that is too long."""
    if len(text.encode("utf-8")) > MAX_TEXT_BYTES:
        return ()
    lines = text.strip().expandtabs().splitlines()
    return tuple("".join(filter(str.isprintable, line)).rstrip() for line in lines)


def _section(card: str) -> str:
    """Return the section of a card whose heading is License, without the heading."""
    found: list[str] = []
    level = 0
    for line in card.splitlines():
        heading = HEADING.fullmatch(line)
        if heading and level and len(heading[1]) <= level:
            break
        if level:
            found.append(line)
        elif heading and LICENSE_HEADING.fullmatch(heading[2]):
            level = len(heading[1])
    return "\n".join(found)
