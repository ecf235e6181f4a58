"""A picture of a timeline: probabilities over time, above the waveform they were heard in."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxmood.audio import AudioSource, Recording
from voxmood.errors import AudioError, MissingExtraError
from voxmood.timeline import Segment

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, PercentFormatter
except ModuleNotFoundError as error:
    raise MissingExtraError("a plot needs matplotlib: pip install 'voxmood[plot]'.") from error

# Okabe and Ito's palette, which colour-blind people can tell apart.
COLOURS = ("#56B4E9", "#F0C419", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#7A4FA3", "#999999")
WAVE = "#3b4252"
ENVELOPE_SECONDS = 0.01
COLUMNS = 2000  # of the envelope; more than a picture has pixels across


def save(path: Path, source: AudioSource, segments: Sequence[Segment], rate: int) -> None:
    """Draws a timeline and writes it whole or not at all.

    Args:
        path: of the picture; its suffix says which format.
        source: the recording, which is decoded once more for its envelope.
        segments: at least one.
        rate: the model's sampling rate, in Hz.

    Raises:
        AudioError: the picture cannot be written there.
    """
    picture = io.BytesIO()
    draw(source, segments, rate).savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            part.write_bytes(picture.getvalue())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error.strerror}).") from error


def draw(source: AudioSource, segments: Sequence[Segment], rate: int) -> Figure:
    """Probabilities as bands that fill the height, blank where it is silent; the waveform below."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    bands, wave = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_bands(bands, segments)
    step, low, high = envelope(source, rate)
    times = (np.arange(len(low)) + 0.5) * step
    wave.fill_between(times, low, high, color=WAVE, linewidth=0.3)
    peak = max(float(np.abs([low, high]).max()), 1e-3)
    wave.set(ylim=(-1.05 * peak, 1.05 * peak), yticks=[], xlim=(0, times[-1] + step / 2))
    wave.xaxis.set_major_formatter(FuncFormatter(_clock))
    for axes in (bands, wave):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
    title = source.name if isinstance(source, Path) else Path(str(source)).name
    bands.set_title(title, loc="left", fontweight="bold")
    handles, labels = bands.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="outside right center", frameon=False, reverse=False
    )
    return figure


def _draw_bands(axes: Axes, segments: Sequence[Segment]) -> None:
    # Windows overlap: each speaks for the time around its middle, half-way to its neighbours.
    middles = np.array([(segment.start + segment.end) / 2 for segment in segments])
    between = (middles[1:] + middles[:-1]) / 2
    edges = np.concatenate([[segments[0].start], between, [segments[-1].end]])
    labels = list(segments[0].probabilities)
    values = np.array([[segment.probabilities[label] for label in labels] for segment in segments])
    values[[segment.silent for segment in segments]] = np.nan
    tops = np.cumsum(values, axis=1).T
    floor = np.zeros_like(tops[0])
    for index, (label, top) in enumerate(zip(labels, tops, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        axes.stairs(top, edges, baseline=floor, fill=True, color=colour, label=label, linewidth=0)
        floor = top
    axes.set(ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def envelope(
    source: AudioSource, rate: int
) -> tuple[float, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lowest and highest sample of even steps; the step in seconds comes first."""
    size = round(ENVELOPE_SECONDS * rate)
    lows, highs = list[npt.NDArray[np.float32]](), list[npt.NDArray[np.float32]]()
    rest = np.zeros(0, np.float32)
    for block in Recording(source, rate=rate):
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


def _clock(seconds: float, _: int) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:04.1f}" if rest % 1 else f"{rest:02.0f}"
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"
