"""The batch engine for one machine, which uses all cores and writes one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from voxmood.archive.job import Job
from voxmood.archive.rows import Row
from voxmood.archive.sources import Listing, Search, Tally, label_all
from voxmood.archive.table import SUFFIXES, TableFile, already_exists, description_of
from voxmood.engine.threads import default_threads
from voxmood.errors import OutputError
from voxmood.files import check_output, check_outputs

Progress: TypeAlias = Callable[[Iterator[list[Row]], int, int], Iterator[list[Row]]]
"""A function that yields the rows of each recording unchanged and shows how many are done. It also
takes the number of recordings that an earlier run has done, and the number of all recordings.
"""


def silent(rows: Iterator[list[Row]], done: int, total: int) -> Iterator[list[Row]]:
    """Return the rows unchanged and show nothing."""
    return rows


def run(job: Job, search: Search, progress: Progress = silent) -> Tally:
    """Run a job on this machine, as `voxmood.batch` describes, and return what the table has.

    Args:
        job: what to label.
        search: finds the recordings of the sources, and afterward tells what it skipped.
        progress: shows how many recordings are done.
    """
    output = Path(job.output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: must end in .csv or .jsonl; Parquet files need --engine ray.")
    outputs = [output, description_of(output)]
    for each in outputs:
        if each.exists() and not (job.resume or job.force):
            raise already_exists(each)
    listing = Listing(chain.from_iterable(map(search.find, job.sources)))
    check_outputs(outputs, [*search.manifests, *job.model_files()])
    for each in outputs:
        if each.exists():  # an output that does not exist cannot be one of the recordings
            check_output(each, (Path(entry.path) for entry in listing))
    threads = job.threads or default_threads()
    workers = min(threads, len(listing))
    labeler = job.labeler(listing.columns, threads // workers, given=listing.given)
    tally = Tally()
    with TableFile(output, labeler.fields, labeler.labels) as table:
        if job.resume:
            for path, error in table.resume(labeler.description):
                if listing.discard(path):
                    tally.add(path, error)
        else:
            table.begin(labeler.description)
        done, total = tally.recordings, tally.recordings + len(listing)
        for rows in progress(label_all(labeler, listing, workers), done, total):
            table.write(rows)
            errors = (row["error"] for row in rows if row["error"])
            tally.add(rows[0]["path"], next(errors, None))
    return tally
