"""Praat TextGrids, which praatio reads and writes (extra `annotations`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from voxmood.annotations.tiers import Tier, written
from voxmood.errors import AnnotationError, MissingExtraError
from voxmood.results import Span

try:
    from praatio import textgrid
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "a TextGrid needs praatio, which is not installed: pip install 'voxmood[annotations]'."
    ) from error


def read_textgrid(path: Path) -> Mapping[str, list[Span]]:
    """Return the intervals of each tier that have a text, by its name; point tiers have none.

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


def as_textgrid(tiers: Sequence[Tier], duration: float, base: Path | None = None) -> str:
    """Return a TextGrid with a tier of labels, and one of numbers, for each speaker or channel.

    Args:
        tiers: the tiers.
        duration: the length of the recording in seconds.
        base: a TextGrid whose tiers come first, as they are; None begins with none.
    """
    begin = 0.0
    if base is None:
        grid = textgrid.Textgrid(begin, duration)
    else:
        grid = textgrid.openTextgrid(str(base), True, "silence")
        begin, duration = grid.minTimestamp, max(grid.maxTimestamp, duration)
    for name, tier, text in written(tiers, grid.tierNames):
        entries = [(start, end, text(segment)) for start, end, segment in tier.parts]
        grid.addTier(textgrid.IntervalTier(name, entries, begin, duration), None, "silence")
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.TextGrid")
        grid.save(str(path), "long_textgrid", includeBlankSpaces=True)
        return path.read_text("utf-8")
