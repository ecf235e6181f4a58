"""`voxmood evaluate` measures how well a model answers for recordings whose truth is known."""

from __future__ import annotations

import argparse

from voxmood.commands.options import (
    add_channel,
    add_provider,
    add_report,
    add_threads,
    add_truth,
    add_unreadable,
    named,
    path,
    write_report,
)
from voxmood.commands.terminal.console import quiet_libraries
from voxmood.files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.epilog = (
        "Exit status: 0 if the model is evaluated, 1 if an input is bad or more recordings are "
        "unreadable than allowed."
    )
    parser.add_argument(
        "model", metavar="MODEL", type=named, help="The model as BUNDLE[@PRECISION]."
    )
    add_truth(parser)
    add_unreadable(parser)
    add_provider(parser)
    add_channel(parser)
    add_threads(parser)
    add_report(parser)
    parser.add_argument(
        "--html", type=path, metavar="FILE", help="Also write the report as one page with plots."
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate the model and return the exit status."""
    from voxmood.comparison.evaluation import evaluate
    from voxmood.comparison.page import as_html

    with quiet_libraries():
        evaluation = evaluate(
            options.model,
            manifest=options.manifest,
            audio=options.audio,
            labels=options.labels,
            ignore_unknown=options.ignore_unknown,
            max_unreadable=options.max_unreadable,
            channel=options.channel,
            provider=options.provider,
            device=options.device,
            threads=options.threads,
            progress=True,
            outputs=[each for each in (options.junit, options.markdown, options.html) if each],
        )
    if options.html:
        write_whole(options.html, as_html(evaluation))
    return write_report(evaluation.report(), options)
