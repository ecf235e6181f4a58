"""`voxmood predict` prints a label with bars, or a line of JSON, for each recording."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from voxmood.commands.options import add_channel, add_model, load, named, open_source
from voxmood.commands.terminal.console import complain, quiet_libraries
from voxmood.commands.terminal.display import answer_text, bars, numbers
from voxmood.results import UNSURE

if TYPE_CHECKING:
    from voxmood.archive.rows import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.epilog = (
        "Exit status: 0 if all recordings are labeled, 1 if a recording is bad or nothing could be "
        "done."
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=named,
        metavar="FILE",
        help="A recording to label; - is standard input.",
    )
    add_model(parser)
    add_channel(parser)
    parser.add_argument(
        "--json", action="store_true", help="Print one JSON object per line instead of text."
    )


def run(options: argparse.Namespace) -> int:
    """Label the recordings and return the exit status."""
    from voxmood.archive.rows import Entry, Labeler, as_json

    labeler = Labeler(load(options), channel=options.channel)
    status = 0
    with quiet_libraries():
        for file in options.files:
            for row in labeler(Entry(file), open_source(file)):
                if row["error"]:
                    complain(row["error"])
                    status = 1
                if options.json:
                    print(as_json(row), end="", flush=True)
                elif not row["error"]:
                    print(_as_text(row), flush=True)
    return status


def _as_text(row: Row) -> str:
    seconds = f"({row['duration_s']:.1f} s)"
    path = row["path"] + (f" [channel {row['channel']}]" if "channel" in row else "")
    if "values" in row:
        doubt = f"{UNSURE} " if row.get("unsure") else ""
        lines = [f"{path}: {doubt}{seconds}", *numbers(row["values"])]
    else:
        answer = answer_text(row["label"], row.get("unsure"))
        lines = [f"{path}: {answer} {seconds}", *bars(row["probabilities"])]
    return "\n".join([*lines, *(f"  warning: {warning}" for warning in row["warnings"])])
