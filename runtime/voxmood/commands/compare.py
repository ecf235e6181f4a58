"""`voxmood compare`: the gate of a CI job, exit status 1 when a bound is missed."""

from __future__ import annotations

import argparse
from collections import Counter

from voxmood.audio.listing import choose_recordings
from voxmood.bundle.locate import bundle_files
from voxmood.commands.console import quiet_libraries
from voxmood.commands.options import (
    add_bounds,
    add_report,
    count,
    named,
    path,
    positive,
    write_report,
)
from voxmood.comparison.bounds import MIN_AGREEMENT
from voxmood.files import check_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = "Exit status: 0 every bound is kept, 1 one is missed or an input is bad."
    parser.set_defaults(wrong_usage=parser.error)
    name = "BUNDLE[@PRECISION]"
    for role, usual in (("reference", "fp32"), ("candidate", "int8")):
        parser.add_argument(
            role, metavar=role.upper(), type=named, help=f"{name}, usually @{usual}"
        )
    parser.add_argument("--audio", type=path, metavar="DIR", help="recordings to compare them on")
    parser.add_argument(
        "--manifest",
        type=path,
        metavar="CSV",
        help="those that it lists in its column path, which is relative to DIR, or without --audio "
        "to CSV's own folder; with a column label, accuracy as well",
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
    """Compare; return the exit status."""
    from voxmood.comparison.compare import compare

    if not (options.audio or options.manifest):
        options.wrong_usage("one of --audio and --manifest is needed, or both")
    if outputs := [output for output in (options.junit, options.markdown) if output]:
        recordings = choose_recordings(options.audio, options.manifest, Counter())
        inputs = [recording.path for recording in recordings]
        inputs += [options.manifest] if options.manifest else []
        inputs += bundle_files(options.reference) + bundle_files(options.candidate)
        check_outputs(outputs, inputs)
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
            threads=options.threads,
            progress=True,
        )
    return write_report(comparison.report(), options)
