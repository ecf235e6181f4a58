"""The command `voxmood calibrate`, which needs no PyTorch."""

from __future__ import annotations

import argparse

from voxmood.commands.options import (
    add_provider,
    add_report,
    add_threads,
    add_truth,
    add_unreadable,
    named,
    path,
    write_report,
)
from voxmood.commands.terminal.console import complain, quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `voxmood calibrate`."""
    parser.epilog = "Exit status: 0 if the new bundle is written, 1 if an input is bad."
    parser.add_argument(
        "model",
        metavar="BUNDLE",
        type=named,
        help="The bundle to calibrate, as BUNDLE[@PRECISION]; all of its precisions are.",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="NEW",
        required=True,
        help="Folder to write the calibrated bundle to.",
    )
    add_truth(parser)
    add_unreadable(parser)
    parser.add_argument("--force", action="store_true", help="Replace the bundle NEW if it exists.")
    add_provider(parser)
    add_threads(parser)
    add_report(parser)


def run(options: argparse.Namespace) -> int:
    """Calibrate the bundle, print the report and return the exit status."""
    from voxmood_export.calibration.calibrate import calibrate

    with quiet_libraries():
        calibrated = calibrate(
            options.model,
            options.output,
            manifest=options.manifest,
            audio=options.audio,
            labels=options.labels,
            ignore_unknown=options.ignore_unknown,
            max_unreadable=options.max_unreadable,
            provider=options.provider,
            device=options.device,
            threads=options.threads,
            force=options.force,
            progress=True,
            outputs=[each for each in (options.junit, options.markdown) if each],
        )
    status = write_report(calibrated.report(), options)
    if calibrated.warning:
        complain(f"warning: {calibrated.warning}")
    return status
