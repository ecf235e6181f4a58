"""A picture of a timeline: probabilities or values over time, and the waveform below them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxmood.audio import AudioReader, AudioSource, Channel
from voxmood.errors import MissingExtraError
from voxmood.files import write_whole
from voxmood.results import UNSURE, Segment

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MultipleLocator, PercentFormatter
except ModuleNotFoundError as error:
    raise MissingExtraError("a plot needs matplotlib: pip install 'voxmood[plot]'.") from error

# They differ in lightness or between blue and yellow, so that color-blind people see them apart.
COLORS = ("#9DB4C0", "#F2C14E", "#D1495B", "#33658A", "#66A182", "#8F6BB3", "#E08E45", "#5C5C5C")
SILENCE = "#F1F1EF"
DOUBT: Mapping[str, Any] = {"facecolor": "#FFFFFFB0", "edgecolor": "#5C5C5C", "hatch": "///"}
"""How what is unsure is covered."""
WAVE = "#3b4252"
ENVELOPE_SECONDS = 0.01
TICKS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 14400)  # seconds
MOST_TICKS = 12
MAX_STEPS = 240  # of the bands; with more, the picture of an hour looks like a bar code
COLUMNS = 2000  # of the envelope; more than the picture is pixels wide


def save(
    path: Path,
    source: AudioSource,
    segments: Sequence[Segment],
    rate: int,
    title: str,
    channel: Channel = "mix",
) -> None:
    """Draw a timeline and write the picture whole or not at all.

    Args:
        path: the picture to write; its suffix decides the format.
        source: the recording, which is decoded once more to draw its waveform.
        segments: the segments of the timeline, at least one.
        rate: the model's sampling rate, in Hz.
        title: the text above the picture.
        channel: the channel whose waveform to draw.

    Raises:
        VoxmoodError: the picture cannot be written.
    """
    picture = io.BytesIO()
    figure = draw(source, segments, rate, title, channel)
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    write_whole(path, picture.getvalue())


def draw(
    source: AudioSource,
    segments: Sequence[Segment],
    rate: int,
    title: str,
    channel: Channel = "mix",
) -> Figure:
    """Return a figure with the answers over time, and the waveform below them.

    Probabilities that sum to one are stacked bands; other numbers are a line each. Both are blank
    where it is silent, and hatched where the answers are unsure. Where there are more than 240
    segments, neighbors are averaged. The arguments are those of `save`.
    """
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    bands, wave = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_answers(bands, segments)
    step, low, high = envelope(source, rate, channel)
    times = (np.arange(len(low)) + 0.5) * step
    wave.fill_between(times, low, high, color=WAVE, linewidth=0.3)
    peak = max(float(np.abs([low, high]).max()), 1e-3)
    wave.set(ylim=(-1.05 * peak, 1.05 * peak), yticks=[], xlim=(0, times[-1] + step / 2))
    mark_time(wave, times[-1])
    for axes in (bands, wave):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
    bands.set_title(title, loc="left", fontweight="bold")
    handles, labels = bands.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False)
    return figure


def _draw_answers(axes: Axes, segments: Sequence[Segment]) -> None:
    # Windows overlap, so each is drawn around its middle, half-way to its neighbors.
    middles = np.array([(segment.start + segment.end) / 2 for segment in segments])
    between = (middles[1:] + middles[:-1]) / 2
    edges = np.concatenate([[segments[0].start], between, [segments[-1].end]])
    # Silent segments have no answer; if all are silent, there is nothing to draw.
    first = next((segment for segment in segments if segment.numbers), segments[0])
    labels = list(first.numbers)
    none = dict.fromkeys(labels, 1 / max(1, len(labels)))
    values = np.array([list((segment.numbers or none).values()) for segment in segments])
    stacked = first.values is None and np.allclose(values.sum(axis=1), 1, atol=1e-3)
    loud = np.array([[not segment.silent] for segment in segments], float)
    merged = np.arange(0, len(segments), -(-len(segments) // MAX_STEPS))
    edges = np.append(edges[merged], edges[-1])
    counts = np.add.reduceat(loud, merged)
    with np.errstate(invalid="ignore"):  # where all are silent, this is NaN, which is not drawn
        values = np.add.reduceat(values * loud, merged) / counts
    silent = counts[:, 0] == 0
    if first.values is not None:
        low, high = (float(limit(values, initial=0.0)) for limit in (np.nanmin, np.nanmax))
    else:
        low, high = 0.0, 1.0
        axes.set_ylabel("probability")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if silent.any():
        height = np.where(silent, high, low)
        axes.stairs(height, edges, baseline=low, fill=True, color=SILENCE, label="silence")
    floor = np.zeros(len(values))
    for index, (label, column) in enumerate(zip(labels, values.T, strict=True)):
        color = COLORS[index % len(COLORS)]
        if not stacked:
            axes.stairs(column, edges, baseline=None, color=color, label=label, linewidth=2)
            continue
        top = floor + column
        axes.stairs(top, edges, baseline=floor, fill=True, color=color, label=label, linewidth=0)
        floor = top
    unsure = np.array([bool(segment.unsure) for segment in segments], float)
    doubtful = (2 * np.add.reduceat(unsure, merged) > counts[:, 0]) & ~silent
    if doubtful.any():
        height = np.where(doubtful, high, low)
        axes.stairs(height, edges, baseline=low, fill=True, label=UNSURE, linewidth=0, **DOUBT)
    margin = 0.05 * (high - low) if first.values is not None else 0.0
    axes.set(ylim=(low - margin * (low < 0), high + margin or 1.0))


def envelope(
    source: AudioSource, rate: int, channel: Channel = "mix"
) -> tuple[float, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the lowest and the highest sample in each of many steps of equal length.

    Args:
        source: the recording.
        rate: the sampling rate to convert it to, in Hz.
        channel: which channel.

    Returns:
        The length of a step in seconds, then the lowest and the highest samples, float32 [steps].
    """
    size = round(ENVELOPE_SECONDS * rate)
    lows, highs = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.float32]]()
    rest = np.zeros(0, np.float32)
    for block in AudioReader(source, rate=rate, chosen=[channel]):
        samples = np.concatenate([rest, block])
        whole = len(samples) // size * size
        rows, rest = samples[:whole].reshape(-1, size), samples[whole:]
        lows.append(rows.min(axis=1))
        highs.append(rows.max(axis=1))
    if len(rest):
        lows.append(rest.min(keepdims=True))
        highs.append(rest.max(keepdims=True))
    low, high = np.concatenate(lows), np.concatenate(highs)
    merged = -(-len(low) // COLUMNS)
    starts = np.arange(0, len(low), merged)
    return (
        merged * size / rate,
        np.minimum.reduceat(low, starts),
        np.maximum.reduceat(high, starts),
    )


def mark_time(axes: Axes, end: float) -> None:
    """Mark and name the time axis of a plot that ends at a time in seconds."""
    step = next((tick for tick in TICKS if end / tick <= MOST_TICKS), TICKS[-1])
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, step)))
    axes.set_xlabel("time in h:mm:ss" if end >= 3600 else "time in m:ss")


def clock(seconds: float, step: float) -> str:
    """Return a time as m:ss, with tenths where the marks of an axis are closer than a second."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:04.1f}" if step < 1 else f"{rest:02.0f}"
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"
