"""The batch engine for one machine: a table that grows while all cores work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from voxmood.archive.job import Job
from voxmood.archive.rows import Row
from voxmood.archive.sources import Listing, Search, Tally, label_all
from voxmood.archive.table import SUFFIXES, Table, description_of, exists
from voxmood.engine.threads import default_threads
from voxmood.errors import OutputError
from voxmood.files import check_output, check_outputs

Progress: TypeAlias = Callable[[Iterator[list[Row]], int, int], Iterator[list[Row]]]
"""Passes on the rows of each recording, given how many are done already and how many there are."""


def silent(rows: Iterator[list[Row]], done: int, total: int) -> Iterator[list[Row]]:
    """Pass on the rows and show nothing."""
    return rows


def run(job: Job, search: Search, progress: Progress = silent) -> Tally:
    """Label all there is; return what the table has.

    Raises:
        OutputError: the output exists, was made otherwise, is an input, or cannot be written.
        MissingFileError, AudioError, ManifestError: a source stands for nothing.
    """
    output = Path(job.output)
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output}: name it OUT.csv or OUT.jsonl; Parquet takes --engine ray.")
    outputs = [output, description_of(output)]
    for each in outputs:
        if each.exists() and not (job.resume or job.force):
            raise exists(each)
    listing = Listing(chain.from_iterable(map(search.find, job.sources)))
    check_outputs(outputs, [*search.manifests, *job.model_files()])
    for each in outputs:
        if each.exists():  # else it is no recording that could be read
            check_output(each, (Path(entry.path) for entry in listing))
    threads = job.threads or default_threads()
    workers = min(threads, len(listing))
    labeler = job.labeler(listing.columns, threads // workers)
    tally = Tally()
    with Table(output, labeler.fields, labeler.labels) as table:
        if job.resume:
            for path, error in table.resume(labeler.description):
                if listing.discard(path):
                    tally.add(path, error)
        else:
            table.begin(labeler.description)
        done, total = tally.recordings, tally.recordings + len(listing)
        for rows in progress(label_all(labeler, listing, workers), done, total):
            table.write(rows)
            tally.add(rows[0]["path"], rows[0]["error"])
    return tally
