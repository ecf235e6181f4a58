"""`voxmood compare`: the gate of a CI job, exit status 1 when a bound is missed."""

from __future__ import annotations

import argparse
from pathlib import Path

from voxmood.commands.options import add_bounds, add_report, count, positive, write_report
from voxmood.comparison import MIN_AGREEMENT, compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = "Exit status: 0 every bound is kept, 1 one is missed or an input is bad."
    name = "BUNDLE[@PRECISION]"
    parser.add_argument("reference", metavar="REFERENCE", help=f"{name}, usually @fp32")
    parser.add_argument("candidate", metavar="CANDIDATE", help=f"{name}, usually @int8")
    parser.add_argument(
        "--audio", type=Path, metavar="DIR", required=True, help="recordings to compare them on"
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="only those of DIR that it lists in its column path; with a column label, "
        "accuracy as well",
    )
    add_bounds(parser, MIN_AGREEMENT)
    parser.add_argument(
        "--max-unreadable",
        type=count,
        default=0,
        metavar="N",
        help="recordings that may be unreadable, default: %(default)s",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all there are")
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Compares; returns the exit status."""
    comparison = compare(
        options.reference,
        options.candidate,
        audio=options.audio,
        manifest=options.manifest,
        min_agreement=options.min_agreement,
        max_drift=options.max_drift,
        min_sqnr=options.min_sqnr,
        max_unreadable=options.max_unreadable,
        threads=options.threads,
        progress=True,
    )
    return write_report(comparison.report(), options)
