"""The batch engine for more than one machine, which uses Ray Data and writes Parquet files.

Ray decides what runs where, how much runs at a time, and what is done again after a failure. Every
node needs voxmood with the extras `cpu` and `ray`, and the bundle at the same path as this machine.
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
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path

from voxmood.archive.job import Job
from voxmood.archive.rows import BY_LABEL, Entry, Labeler, Row
from voxmood.archive.sources import Listing, Search, Tally
from voxmood.archive.table import already_exists, check_same
from voxmood.engine.threads import default_threads
from voxmood.errors import (
    ClusterError,
    MissingExtraError,
    MissingFileError,
    OutputError,
    VoxmoodError,
)
from voxmood.results import Span

# Ray reads these variables when it starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# By default Ray ends idle processes after 1 s, and every file of the output waits for a new one.
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")

try:
    import pyarrow
    import ray
    import ray.data
    from pyarrow import fs

    from voxmood.archive.storage import (
        find_entries,
        first_line,
        open_storage,
        parts,
        recordings,
        unreachable,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "--engine ray needs Ray Data, which is not installed: pip install 'voxmood[ray]'."
    ) from error

DESCRIPTION = "_voxmood.json"
"""Name of the file that describes the rows. Readers of Parquet skip names that begin with `_`."""

BLOCK_PATHS = 32
"""Recordings of one task. A larger number leaves more actors idle at the end of a job."""

CONNECT_SECONDS = 10.0
FILE_ROWS = 1000
"""The least number of rows in a file of the output, except the last."""

ACTOR_CPUS, WRITER_CPUS = 0.9, 0.1
"""Shares of a processor. Actors that took whole processors would leave none for writing. Reading
asks for the share of an actor, because Ray then fuses both into one step; without that, throughput
on two cores was a third less.
"""


class Worker:
    """An actor of Ray, which holds the model and labels recordings.

    Args:
        job: the job.
        columns: columns of the manifests, as `Labeler` takes them.
        given: whether stretches of recordings are listed.
    """

    def __init__(self, job: Job, columns: tuple[str, ...], given: bool) -> None:
        self._labeler = job.labeler(columns, threads=1, given=given)
        self._schema = schema(self._labeler)

    def __call__(self, recordings: pyarrow.Table) -> pyarrow.Table:
        """Label recordings that `read` has read, and return their rows."""
        rows: list[Row] = []
        for path, more, audio, cause in zip(*recordings.columns, strict=True):
            columns, listed, spans = json.loads(more.as_py())
            entry = Entry(path.as_py(), columns, listed, [Span(**span) for span in spans])
            if audio.is_valid:
                rows += self._labeler(entry, Audio(audio.as_buffer(), entry.path))
            elif "://" in entry.path:
                rows += [self._labeler.failed(entry, VoxmoodError(cause.as_py()))]
            else:
                rows += self._labeler(entry)  # fails with the same message as in the local engine
        return pyarrow.Table.from_pylist(rows, schema=self._schema)


class Audio(io.BytesIO):
    """The bytes of a file, with the name that messages use for it."""

    def __init__(self, content: pyarrow.Buffer, name: str) -> None:
        super().__init__(content)
        self.name = name


def read(row: Row, root: str) -> Row:
    """Read a recording and return its row with the bytes, or with the cause if it cannot be read.

    Ray's own `read_binary_files` would end the job at the first file that cannot be read.

    Args:
        row: a row with the path of the recording.
        root: the folder to which relative paths are relative.
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
    """Return the columns of the output and their types."""
    text, number = pyarrow.string(), pyarrow.float64()
    by_label = pyarrow.struct([(label, number) for label in labeler.labels])
    types = {
        **dict.fromkeys(BY_LABEL, by_label),
        "warnings": pyarrow.list_(text),
        **dict.fromkeys(("silent", "unsure"), pyarrow.bool_()),
        "channel": pyarrow.int64(),
        **dict.fromkeys(("start", "end", "duration_s", "novelty"), number),
    }
    types |= dict.fromkeys(labeler.carried, text)  # also where a column has one of these names
    return pyarrow.schema([(name, types.get(name, text)) for name in labeler.fields])


def run(job: Job, search: Search, address: str | None = None) -> Tally:
    """Run a job on a Ray cluster, as `voxmood.batch` describes, and return what the output has.

    Args:
        job: what to label.
        search: finds the recordings of the sources, and afterward tells what it skipped.
        address: address of a Ray cluster; None starts Ray on this machine.
    """
    storage, folder = open_storage(job.output)
    try:
        existing = parts(storage, folder)
        description = f"{folder}/{DESCRIPTION}"
        if existing and not storage.get_file_info(description).is_file:
            raise OutputError(
                f"{job.output}: holds Parquet files that no batch wrote; choose another folder."
            )
        if existing and not (job.resume or job.force):
            raise already_exists(job.output)
        entries = (find_entries(source, search) for source in job.sources)
        listing = Listing(chain.from_iterable(entries))
        # Load the model on this machine too, so that an error in it is reported at once.
        labeler = job.labeler(listing.columns, threads=1, given=listing.given)
        if existing and job.resume:
            with storage.open_input_stream(description) as stream:
                check_same(job.output, stream.read(), labeler.description)
            for path, _ in chain.from_iterable(recordings(storage, part) for part in existing):
                listing.discard(path)
        else:
            for part in existing:
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


def more(entry: Entry) -> str:
    """Return what is known of a recording beside its path, as JSON."""
    return json.dumps([entry.columns, entry.listed, [asdict(span) for span in entry.spans]])


def label(listing: Listing, job: Job, storage: fs.FileSystem, folder: str) -> None:
    """Label recordings on the cluster and write their rows as Parquet files.

    Raises:
        ClusterError: the job failed.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    # Ray warns that the actors hold all processors, but `ACTOR_CPUS` leaves room.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    actors = max(1, int(ray.cluster_resources()["CPU"]))
    tasks = math.ceil(len(listing) / BLOCK_PATHS)
    try:
        (
            ray.data.from_items(
                [{"path": entry.path, "more": more(entry)} for entry in listing],
                override_num_blocks=tasks,
            )
            .map(partial(read, root=str(Path.cwd())), num_cpus=ACTOR_CPUS)
            .map_batches(
                Worker,
                fn_constructor_args=(job, listing.columns, listing.given),
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
            f"the job on Ray failed ({cause(error)}); once that is fixed, --resume continues it."
        ) from error
    finally:
        ray.shutdown()


def connect(address: str | None, processors: int) -> None:
    """Connect to a cluster, or start Ray on this machine.

    Args:
        address: address of the cluster; None starts Ray.
        processors: number of processors that Ray may use if it is started.

    Raises:
        ClusterError: no cluster answers at the address.
    """
    try:
        if address and (found := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)):
            # Check the address first, because Ray itself would try for minutes.
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
    """Return the error of a job in one line, without the traceback that errors of tasks hold."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0].strip()
