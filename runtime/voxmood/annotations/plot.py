"""A picture of a conversation, with a lane for each speaker or channel (extra `plot`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from voxmood.annotations.tiers import tiers
from voxmood.errors import MissingExtraError
from voxmood.files import write_whole
from voxmood.plot import COLORS, DOUBT, mark_time
from voxmood.results import UNSURE, Segment

try:
    from matplotlib.artist import Artist
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtraError("a plot needs matplotlib: pip install 'voxmood[plot]'.") from error

WIDTH = 12.0  # of the picture in inches
ROOM = 0.012  # of a letter, as a share of the time that is drawn
LIGHT, DARK = "#ffffff", "#14171a"  # of the text in a bar


def save_lanes(path: Path, segments: Sequence[Segment], title: str) -> None:
    """Draw a conversation and write the picture whole or not at all.

    Args:
        path: the picture to write; its suffix decides the format.
        segments: the segments; those without an answer are left blank.
        title: the text above the picture.

    Raises:
        VoxmoodError: the picture cannot be written.
    """
    picture = io.BytesIO()
    draw_lanes(segments, title).savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    write_whole(path, picture.getvalue())


def draw_lanes(segments: Sequence[Segment], title: str) -> Figure:
    """Return a figure with a lane for each speaker or channel.

    A lane has a bar for each segment in the color of its label, with the label in it where there is
    room, or a line for each value. It is hatched where the answer is unsure. The arguments are
    those of `save_lanes`.
    """
    lanes = tiers(segment for segment in segments if segment.numbers)
    names = list(dict.fromkeys(name for segment in segments for name in segment.numbers))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    count = max(1, len(lanes))
    last = max((segment.end for segment in segments if not segment.error), default=1.0)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.9 * count), layout="constrained")
    rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    drawn: dict[str, Artist] = {}
    for axes, lane in zip(rows, lanes, strict=False):
        for start, end, segment in lane.parts:
            if segment.label is not None:
                bar = axes.broken_barh([(start, end - start)], (0, 1), color=colors[segment.label])
                drawn.setdefault(segment.label, bar)
                if end - start >= ROOM * len(segment.label) * last:
                    text = axes.text((start + end) / 2, 0.5, segment.label, clip_on=True)
                    color = DARK if segment.unsure else _readable_on(colors[segment.label])
                    text.set(ha="center", va="center", color=color)
            for name, number in segment.numbers.items() if segment.label is None else ():
                (line,) = axes.plot([start, end], [number, number], color=colors[name], linewidth=2)
                drawn.setdefault(name, line)
            if segment.unsure:
                cover = axes.axvspan(start, end, linewidth=0, **DOUBT)
                drawn.setdefault(UNSURE, cover)
        axes.set_ylabel(lane.name, rotation=0, ha="right", va="center")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        if all(segment.label is not None for _, _, segment in lane.parts):
            axes.set(yticks=[], ylim=(0, 1))
    rows[-1].set_xlim(0, last)
    mark_time(rows[-1], last)
    rows[0].set_title(title, loc="left", fontweight="bold")
    shown = [name for name in (*names, UNSURE) if name in drawn]
    figure.legend([drawn[name] for name in shown], shown, loc="outside right center", frameon=False)
    return figure


def _readable_on(color: str) -> str:
    """Return a light or a dark color for text on a background."""
    red, green, blue = to_rgb(color)
    return DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else LIGHT
