"""Praat TextGrids, which praatio reads and writes (extra `annotations`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voxmood.errors import AnnotationError, MissingExtraError
from voxmood.results import Span

try:
    from praatio import textgrid
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "a TextGrid needs praatio, which is not installed: pip install 'voxmood[annotations]'."
    ) from error


def read_textgrid(path: Path) -> Mapping[str, list[Span]]:
    """Return the intervals with a text of each tier by its name; those of point tiers are none.

    Raises:
        AnnotationError: the file is not a TextGrid, or has two tiers of one name.
    """
    try:
        grid = textgrid.openTextgrid(str(path), False, "silence")
    except OSError:
        raise
    except Exception as error:  # praatio raises errors of many kinds for damaged files
        raise AnnotationError(f"{path}: is not a TextGrid that can be read ({error}).") from error
    tiers: dict[str, list[Span]] = {}
    for name in grid.tierNames:
        tier = grid.getTier(name)
        spans = tiers[name] = []
        if isinstance(tier, textgrid.IntervalTier):
            for number, (start, end, text) in enumerate(tier.entries, 1):
                listed = f"{path}, tier {name!r}, interval {number}"
                columns = {"speaker": name, "label": text}
                spans.append(Span(float(start), float(end), name, text, None, listed, columns))
    return tiers
