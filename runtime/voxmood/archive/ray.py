"""The batch engine for more than one machine: Ray Data reads, maps and writes Parquet.

What runs where, how much is under way, and what is done again after a failure is Ray's. Every node
needs voxmood with the extras `cpu` and `ray`, and the bundle where this machine has it.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import socket
import sys
from functools import partial
from itertools import chain
from pathlib import Path

from voxmood.archive.job import Job
from voxmood.archive.rows import Entry, Labeler, Row
from voxmood.archive.sources import Listing, Search, Tally
from voxmood.archive.table import check_same, exists
from voxmood.engine.threads import default_threads
from voxmood.errors import (
    ClusterError,
    MissingExtraError,
    MissingFileError,
    OutputError,
    VoxmoodError,
)

# Read when Ray starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Else every file of the output waits for a process to start: idle ones were ended after 1 s.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")

try:
    import pyarrow
    import ray
    import ray.data
    from pyarrow import fs

    from voxmood.archive.storage import (
        find,
        first_line,
        open_storage,
        parts,
        recordings,
        unreachable,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError("engine ray needs Ray Data: pip install 'voxmood[ray]'.") from error

DESCRIPTION = "_voxmood.json"  # readers of Parquet leave out what begins so
BLOCK_PATHS = 32  # a task takes as many recordings; at the end one actor works and others wait
CONNECT_SECONDS = 10.0
FILE_ROWS = 1000  # the least of a file of the output, but for the last
# Of a processor: actors that held all there are would leave none to write their rows. Reading asks
# for what an actor has, so that Ray fuses it with the actor's work; apart from it, throughput on
# two cores was a third less.
ACTOR_CPUS, WRITER_CPUS = 0.9, 0.1


class Worker:
    """An actor's model.

    Args:
        job: what is asked for.
        columns: of the manifests, as `Labeler` takes them.
    """

    def __init__(self, job: Job, columns: tuple[str, ...]) -> None:
        self._labeler = job.labeler(columns, threads=1)
        self._schema = schema(self._labeler)

    def __call__(self, recordings: pyarrow.Table) -> pyarrow.Table:
        """Labels recordings that `read` has read."""
        rows: list[Row] = []
        for path, more, audio, cause in zip(*recordings.columns, strict=True):
            entry = Entry(path.as_py(), *json.loads(more.as_py()))
            if audio.is_valid:
                rows += self._labeler(entry, Audio(audio.as_buffer(), entry.path))
            elif "://" in entry.path:
                rows += [self._labeler.failed(entry, VoxmoodError(cause.as_py()))]
            else:
                rows += self._labeler(entry)  # which finds the cause, as the local engine does
        return pyarrow.Table.from_pylist(rows, schema=self._schema)


class Audio(io.BytesIO):
    """The bytes of a file, and the name that messages have it by."""

    def __init__(self, content: pyarrow.Buffer, name: str) -> None:
        super().__init__(content)
        self.name = name


def read(row: Row, root: str) -> Row:
    """Reads a recording.

    Ray's `read_binary_files` would end the job at the first that cannot be read.
    """
    audio = cause = None
    try:
        storage, path = open_storage(row["path"], root)
        with storage.open_input_stream(path) as stream:
            audio = stream.read()
    except (OSError, ClusterError) as error:
        cause = f"{row['path']}: cannot be read ({first_line(error)})."
    return row | {"audio": audio, "cause": cause}


def schema(labeler: Labeler) -> pyarrow.Schema:
    """The types of the output's columns."""
    text, number = pyarrow.string(), pyarrow.float64()
    types = {
        "probabilities": pyarrow.struct([(label, number) for label in labeler.labels]),
        "warnings": pyarrow.list_(text),
        "silent": pyarrow.bool_(),
        **dict.fromkeys(("start", "end", "duration_s"), number),
    }
    return pyarrow.schema([(name, types.get(name, text)) for name in labeler.fields])


def run(job: Job, search: Search, address: str | None = None) -> Tally:
    """Label what is listed; return what the output has.

    Raises:
        ClusterError: Ray or the storage is out of reach, or the job failed.
        OutputError: the output is there, or was made otherwise.
    """
    storage, folder = open_storage(job.output)
    try:
        there = parts(storage, folder)
        description = f"{folder}/{DESCRIPTION}"
        if there and not storage.get_file_info(description).is_file:
            raise OutputError(
                f"{job.output}: holds Parquet files that no batch wrote; choose another folder."
            )
        if there and not (job.resume or job.force):
            raise exists(job.output)
        listing = Listing(chain.from_iterable(find(source, search) for source in job.sources))
        # Here too: what is wrong with the model is told at once.
        labeler = job.labeler(listing.columns, threads=1)
        if there and job.resume:
            with storage.open_input_stream(description) as stream:
                check_same(job.output, stream.read(), labeler.description)
            for path, _ in chain.from_iterable(recordings(storage, part) for part in there):
                listing.discard(path)
        else:
            for part in there:
                storage.delete_file(part)
            storage.create_dir(folder)
            with storage.open_output_stream(description) as stream:
                stream.write(json.dumps(labeler.description, indent=2).encode())
        if len(listing):
            connect(address, job.threads or default_threads())
            label(listing, job, storage, folder)
        tally = Tally()
        for part in parts(storage, folder):
            for path, error in recordings(storage, part):
                tally.add(path, error)
    except OSError as error:
        if isinstance(error, OutputError | ClusterError | MissingFileError):
            raise
        raise unreachable(job.output, error) from error
    return tally


def label(listing: Listing, job: Job, storage: fs.FileSystem, folder: str) -> None:
    """Runs the job."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    # It warns that actors hold all processors, which these leave room in.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    actors = max(1, int(ray.cluster_resources()["CPU"]))
    tasks = math.ceil(len(listing) / BLOCK_PATHS)
    try:
        (
            ray.data.from_items(
                [
                    {"path": entry.path, "more": json.dumps([entry.columns, entry.listed])}
                    for entry in listing
                ],
                override_num_blocks=tasks,
            )
            .map(partial(read, root=str(Path.cwd())), num_cpus=ACTOR_CPUS)
            .map_batches(
                Worker,
                fn_constructor_args=(job, listing.columns),
                batch_format="pyarrow",
                batch_size=BLOCK_PATHS,
                num_cpus=ACTOR_CPUS,
                compute=ray.data.ActorPoolStrategy(
                    min_size=1, initial_size=actors, max_size=actors
                ),
            )
            .write_parquet(
                folder,
                filesystem=storage,
                min_rows_per_file=FILE_ROWS,
                ray_remote_args={"num_cpus": WRITER_CPUS},
            )
        )
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise ClusterError(
            f"the job on Ray failed ({cause(error)}); once that is mended, --resume goes on."
        ) from error
    finally:
        ray.shutdown()


def connect(address: str | None, processors: int) -> None:
    """Joins a cluster, or starts Ray on this machine.

    Raises:
        ClusterError: there is none at the address.
    """
    try:
        if address and (found := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)):
            # Ray itself would try for minutes.
            socket.create_connection((found[1], int(found[2])), CONNECT_SECONDS).close()
        ray.init(
            address=address,
            num_cpus=None if address else processors,
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"{address or 'Ray'}: no Ray cluster answers ({first_line(error)}); `ray start --head` "
            "starts one and prints its address."
        ) from error


def cause(error: Exception) -> str:
    """A job's error in short; one of a task holds the traceback of another machine before it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0].strip()
