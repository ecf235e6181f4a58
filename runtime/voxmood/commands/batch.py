"""`voxmood batch`: archives to a table, on every core of this machine or of a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from voxmood.commands.console import quiet_libraries
from voxmood.commands.options import (
    add_model,
    add_windows,
    bundle_files,
    check_outputs,
    load,
    named,
)
from voxmood.commands.progress import progress
from voxmood.engine.threads import default_threads
from voxmood.errors import OutputError
from voxmood.files import check_output

if TYPE_CHECKING:
    from voxmood.archive.sources import Listing, Search, Tally


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = "Exit status: 0 all is labeled, 1 a row has an error or nothing could be done."
    parser.add_argument(
        "sources",
        nargs="+",
        type=named,
        metavar="SOURCE",
        help="a file, a folder, a quoted glob, or a CSV manifest with a column path, which is "
        "relative to it; with --engine ray also s3://BUCKET/FOLDER",
    )
    parser.add_argument(
        "--output",
        type=named,
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
    """Label all there is; return the exit status."""
    from voxmood.archive.sources import Search
    from voxmood.audio.listing import skipped_text

    search = Search()
    try:
        tally = (_on_ray if options.engine == "ray" else _locally)(options, search)
    except KeyboardInterrupt:
        print("voxmood: stopped; the same command with --resume goes on.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # at once, and not when the recordings under way are done
    print(f"{options.output}: {tally.recordings} recordings, {tally.failed} of them with an error")
    for line in tally.causes():
        print(line)
    if search.skipped:
        print(skipped_text(search.skipped))
    return 1 if tally.failed else 0


def _locally(options: argparse.Namespace, search: Search) -> Tally:
    from voxmood.archive.rows import Labeller
    from voxmood.archive.sources import Listing, Tally, label_all
    from voxmood.archive.table import SUFFIXES, Table, description_of, exists

    output = Path(options.output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: name it OUT.csv or OUT.jsonl; Parquet takes --engine ray.")
    outputs = [output, description_of(output)]
    for each in outputs:
        if each.exists() and not (options.resume or options.force):
            raise exists(each)
    listing = Listing(chain.from_iterable(map(search.find, options.sources)))
    _check_outputs(outputs, options.model, search, listing)
    threads = options.threads or default_threads()
    workers = min(threads, len(listing))
    options.threads = threads // workers
    labeller = Labeller(load(options), _windows(options), listing.columns)
    tally = Tally()
    with quiet_libraries(), Table(output, labeller.fields, labeller.labels) as table:
        if options.resume:
            for path, error in table.resume(labeller.description):
                if listing.discard(path):
                    tally.add(path, error)
        else:
            table.begin(labeller.description)
        done, total = tally.recordings, tally.recordings + len(listing)
        for rows in progress(label_all(labeller, listing, workers), done, total):
            table.write(rows)
            tally.add(rows[0]["path"], rows[0]["error"])
    return tally


def _check_outputs(
    outputs: list[Path], model: str | None, search: Search, listing: Listing
) -> None:
    """Check that nothing that is read is written to."""
    check_outputs(outputs, [*search.manifests, *bundle_files(model)])
    for output in outputs:
        if output.exists():  # else it is no recording that could be read
            check_output(output, (Path(entry.path) for entry in listing))


def _on_ray(options: argparse.Namespace, search: Search) -> Tally:
    from voxmood.archive import ray

    return ray.run(options, _windows(options), search)


def _windows(options: argparse.Namespace) -> tuple[float, float] | None:
    return (options.window, options.hop) if options.timeline else None
