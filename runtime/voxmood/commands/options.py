"""Options that several sub-commands take."""

from __future__ import annotations

import argparse
import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import voxmood
from voxmood.comparison.report import Report
from voxmood.engine.providers import PROVIDERS
from voxmood.files import write_whole

if TYPE_CHECKING:
    from voxmood.model import Model


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is run."""
    parser.add_argument(
        "--model",
        type=named,
        metavar="BUNDLE[@PRECISION]",
        help="a folder, voxmood-tiny, which ships and is the default, or OWNER/NAME on a hub",
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    parser.add_argument("--low-memory", action="store_true", help="for small boards; slower")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all there are")


def add_windows(parser: argparse.ArgumentParser) -> None:
    """How audio is cut into segments."""
    parser.add_argument(
        "--window", type=float, default=5.0, metavar="S", help="length of a segment (5 s)"
    )
    parser.add_argument(
        "--hop", type=float, default=1.0, metavar="S", help="from one start to the next (1 s)"
    )


def load(options: argparse.Namespace) -> Model:
    """Load the model that the options of `add_model` ask for."""
    return voxmood.load(
        options.model,
        provider=options.provider,
        threads=options.threads,
        low_memory=options.low_memory,
    )


def open_source(name: str) -> str | BinaryIO:
    """Return what to read for an argument: the path that it is, or for `-` standard input."""
    if name != "-":
        return name
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None where it is closed


def add_bounds(parser: argparse.ArgumentParser, min_agreement: float | None) -> None:
    """How far a model's answers may be from those of its reference."""
    default = "" if min_agreement is None else f", default: {min_agreement:g}"
    parser.add_argument(
        "--min-agreement",
        type=share,
        default=min_agreement,
        metavar="SHARE",
        help=f"of recordings that must get the same label, 0 to 1{default}",
    )
    parser.add_argument(
        "--max-drift", type=share, metavar="P", help="the largest |Δprobability| of any label"
    )
    parser.add_argument(
        "--min-sqnr",
        type=finite,
        metavar="DB",
        help="the least signal-to-quantization-noise ratio of centred logits",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """How the report of a check is written."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--junit", type=path, metavar="FILE", help="also write JUnit XML, a test case a bound"
    )
    parser.add_argument(
        "--markdown", type=path, metavar="FILE", help="also write a summary for a CI page"
    )


def write_report(report: Report, options: argparse.Namespace) -> int:
    """Prints and writes what the options of `add_report` ask for; returns the exit status."""
    print(report.as_json() if options.json else report.as_text())
    if options.json and not report.passed:
        print(f"voxmood: {report.verdict}", file=sys.stderr)
    if options.junit:
        write_whole(options.junit, report.as_junit() + "\n")
    if options.markdown:
        write_whole(options.markdown, report.as_markdown() + "\n")
    return 0 if report.passed else 1


def named(text: str) -> str:
    """Return an argument that names something."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; is a variable not set?")
    return text


def path(text: str) -> Path:
    """Return an argument that names a file or folder."""
    return Path(named(text))


def share(text: str) -> float:
    """An argument that is a share or a probability."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def finite(text: str) -> float:
    """An argument that is a finite number."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError("must be a finite number")
    return number


def count(text: str) -> int:
    """An argument that counts something which may be absent."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def positive(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
