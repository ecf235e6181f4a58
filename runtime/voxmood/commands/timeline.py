"""`voxmood timeline`: the segments of one recording, printed as they are known."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from voxmood.commands.options import add_model, add_windows, load
from voxmood.display import segment_json, segment_text
from voxmood.timeline import Segment

BAR = "{percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s, {remaining} to go"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("file", metavar="FILE")
    add_windows(parser)
    add_model(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated values with a header")
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="also draw it, as png, svg or pdf (needs the extra plot)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the segments; returns the exit status."""
    if options.plot:
        import voxmood.plot  # first, so that a missing extra is told before the work
    model = load(options)
    timeline = model.timeline(options.file, options.window, options.hop)
    write = segment_json if options.json else _as_csv if options.csv else segment_text
    if options.csv:
        print(_csv_line(["start", "end", "label", "silent", *model.labels]))
    segments: list[Segment] = []
    labels = Counter[str]()
    # On standard error, and only where that is a terminal.
    with tqdm(
        total=timeline.duration,
        disable=None,
        unit="s",
        bar_format=BAR if timeline.duration else None,
    ) as progress:
        for segment in timeline:
            tqdm.write(write(segment))
            sys.stdout.flush()
            progress.update(segment.end - progress.n)
            labels["silence" if segment.silent else segment.label] += 1
            if options.plot:
                segments.append(segment)
    if not (options.json or options.csv):
        print(_summary(labels))
    for warning in timeline.warnings:
        print(f"voxmood: {options.file}: warning: {warning}", file=sys.stderr)
    if options.plot:
        voxmood.plot.save(options.plot, options.file, segments, model.bundle.sampling_rate)
    return 0


def _as_csv(segment: Segment) -> str:
    """A segment as one line of comma-separated values."""
    probabilities = [f"{value:.6f}" for value in segment.probabilities.values()]
    silent = str(segment.silent).lower()
    return _csv_line(
        [f"{segment.start:.4f}", f"{segment.end:.4f}", segment.label, silent, *probabilities]
    )


def _summary(labels: Counter[str]) -> str:
    shares = (f"{label} {count / labels.total():.0%}" for label, count in labels.most_common())
    return f"{labels.total()} segments: {', '.join(shares)}"


def _csv_line(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError("must end in .png, .svg or .pdf")
    return path
