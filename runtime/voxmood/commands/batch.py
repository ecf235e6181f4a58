"""`voxmood batch` labels an archive into a table, on all cores of a machine or a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys

from voxmood.commands.options import add_channel, add_model, add_speech, add_windows, named
from voxmood.commands.terminal.console import quiet_libraries
from voxmood.commands.terminal.progress import progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.epilog = (
        "Exit status: 0 if all recordings are labeled, 1 if a row has an error or nothing could be "
        "done."
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=named,
        metavar="SOURCE",
        help="A file, a folder, a quoted glob, or a manifest: a CSV file with a column path, "
        "whose paths are relative to its folder. - and pipes are manifests, too, whose paths "
        "are relative to the current folder. With --engine ray also s3://BUCKET/FOLDER. A "
        "source that is missing is an error before anything is labeled.",
    )
    parser.add_argument(
        "--output",
        type=named,
        metavar="OUT.csv|.jsonl",
        required=True,
        help="Table with a row for each recording; with --engine ray a folder of Parquet files.",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="Continue a run that was stopped. Rows that it has written stay as they are, even if "
        "a manifest has changed since.",
    )
    again.add_argument("--force", action="store_true", help="Replace the output if it exists.")
    parser.add_argument(
        "--timeline", action="store_true", help="Write a row for each window of each recording."
    )
    add_windows(parser)
    add_speech(parser)
    add_model(parser)
    add_channel(parser)
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="Where the job runs: on this machine, or on a Ray cluster (default: %(default)s).",
    )
    parser.add_argument(
        "--address", help="Address of a Ray cluster (default: start Ray on this machine)."
    )


def run(options: argparse.Namespace) -> int:
    """Label the recordings and return the exit status."""
    from voxmood.archive import local
    from voxmood.archive.job import Job
    from voxmood.archive.sources import Search
    from voxmood.audio.listing import skipped_text

    search = Search()
    job = Job(
        sources=tuple(options.sources),
        output=options.output,
        model=options.model,
        provider=options.provider,
        device=options.device,
        threads=options.threads,
        low_memory=options.low_memory,
        windows=(options.window, options.hop) if options.timeline or options.speech else None,
        speech=options.speech,
        channel=options.channel,
        min_confidence=options.min_confidence,
        resume=options.resume,
        force=options.force,
    )
    try:
        if options.engine == "ray":
            from voxmood.archive import ray

            tally = ray.run(job, search, options.address)
        else:
            with quiet_libraries():
                tally = local.run(job, search, progress)
    except KeyboardInterrupt:
        print("voxmood: stopped; run the command with --resume to continue.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # immediately, without waiting for the recordings in progress
    print(f"{options.output}: {tally.recordings} recordings, {tally.failed} of them with an error")
    for line in tally.causes():
        print(line)
    if search.skipped:
        print(skipped_text(search.skipped))
    return 1 if tally.failed else 0
