"""`voxmood batch`: archives to a table, on every core of this machine or of a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from voxmood.commands.options import add_model, add_windows, load
from voxmood.errors import OutputError
from voxmood.threads import default_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = "Exit status: 0 all is labelled, 1 a row has an error or nothing could be done."
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a file, a folder, a quoted glob, or a CSV manifest with a column path, which is "
        "relative to it; with --engine ray also s3://BUCKET/FOLDER",
    )
    parser.add_argument(
        "--output",
        metavar="OUT.csv|.jsonl",
        required=True,
        help="a row for each recording; with --engine ray a folder of Parquet files",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    again.add_argument("--force", action="store_true", help="replace the output")
    parser.add_argument("--timeline", action="store_true", help="a row for each window instead")
    add_windows(parser)
    add_model(parser)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--address", help="of a Ray cluster; default: Ray on this machine")


def run(options: argparse.Namespace) -> int:
    """Labels all there is; returns the exit status."""
    try:
        labelled, failed = (_on_ray if options.engine == "ray" else _locally)(options)
    except KeyboardInterrupt:
        print("voxmood: stopped; the same command with --resume goes on.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # at once, and not when the recordings under way are done
    print(f"{options.output}: {labelled} recordings, {failed} of them with an error")
    return 1 if failed else 0


def _locally(options: argparse.Namespace) -> tuple[int, int]:
    from voxmood.batch import Labeller, Listing, find, label_all
    from voxmood.batch_table import SUFFIXES, Table, exists

    output = Path(options.output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: name it OUT.csv or OUT.jsonl; Parquet takes --engine ray.")
    if output.exists() and not (options.resume or options.force):
        raise exists(output)
    listing = Listing(chain.from_iterable(map(find, options.sources)))
    threads = options.threads or default_threads()
    workers = min(threads, len(listing))
    options.threads = threads // workers
    labeller = Labeller(load(options), _windows(options))
    labelled = failed = 0
    with Table(output, labeller.fields, labeller.labels) as table:
        if options.resume:
            for path, error in table.resume(labeller.description):
                if listing.discard(path):
                    labelled, failed = labelled + 1, failed + error
        else:
            table.begin(labeller.description)
        with tqdm(
            label_all(labeller, listing, workers),
            initial=labelled,
            total=labelled + len(listing),
            unit="file",
            disable=None,  # where standard error is no terminal
        ) as progress:
            for rows in progress:
                table.write(rows)
                labelled, failed = labelled + 1, failed + (rows[0]["error"] is not None)
    return labelled, failed


def _on_ray(options: argparse.Namespace) -> tuple[int, int]:
    from voxmood import batch_ray

    return batch_ray.run(options, _windows(options))


def _windows(options: argparse.Namespace) -> tuple[float, float] | None:
    return (options.window, options.hop) if options.timeline else None
