"""The model card of a checkpoint, of which a bundle repeats the license."""

from __future__ import annotations

from huggingface_hub import ModelCard

from voxmood_export.checkpoint.files import CARD, CheckpointFiles

MAX_CARD_BYTES = 1 << 20  # what is read of a card; its metadata comes first
UNKNOWN = "unknown"


def read_license(files: CheckpointFiles) -> str:
    """Return the license that a checkpoint's model card names, or "unknown".

    Licenses of a hub's list have short names. Of another one the card says the name and the place.
    A card that is missing, damaged or without a license is no reason to refuse a checkpoint.
    """
    try:
        with (files.folder / CARD).open("rb") as file:
            text = file.read(MAX_CARD_BYTES).decode("utf-8", errors="replace")
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
