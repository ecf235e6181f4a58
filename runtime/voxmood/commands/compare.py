"""`voxmood compare` checks that a model decides as a reference does, for example in a CI job."""

from __future__ import annotations

import argparse

from voxmood.commands.options import (
    add_bounds,
    add_channel,
    add_provider,
    add_report,
    add_threads,
    add_unreadable,
    named,
    path,
    write_report,
)
from voxmood.commands.terminal.console import quiet_libraries
from voxmood.comparison.bounds import MIN_AGREEMENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.epilog = (
        "Exit status: 0 if every bound is met, 1 if a bound is missed or an input is bad."
    )
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        type=named,
        help="The trusted model as BUNDLE[@PRECISION], usually @fp32.",
    )
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        type=named,
        help="The model to check as BUNDLE[@PRECISION], usually @int8.",
    )
    parser.add_argument(
        "--audio", type=path, metavar="DIR", help="Folder of recordings to compare the models on."
    )
    parser.add_argument(
        "--manifest",
        type=path,
        metavar="CSV",
        help="CSV file that lists the recordings to compare in its column path. Paths are "
        "relative to DIR, or without --audio to the folder of the CSV file, or to the "
        "current folder if the file is -, which is standard input. With a column label, the "
        "accuracy is reported, too; of a regression, with a column for each value, their "
        "CCC.",
    )
    add_bounds(parser, MIN_AGREEMENT)
    add_unreadable(parser)
    add_provider(parser)
    add_channel(parser)
    add_threads(parser)
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Compare the models and return the exit status."""
    from voxmood.comparison.compare import compare

    if not (options.audio or options.manifest):
        options.wrong_usage("--audio or --manifest is required, or both")
    with quiet_libraries():
        comparison = compare(
            options.reference,
            options.candidate,
            audio=options.audio,
            manifest=options.manifest,
            min_agreement=options.min_agreement,
            max_drift=options.max_drift,
            min_sqnr=options.min_sqnr,
            max_unreadable=options.max_unreadable,
            provider=options.provider,
            device=options.device,
            channel=options.channel,
            threads=options.threads,
            progress=True,
            outputs=[output for output in (options.junit, options.markdown) if output],
        )
    return write_report(comparison.report(), options)
