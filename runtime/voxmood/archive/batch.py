"""`voxmood.batch`: an archive to a table in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from voxmood.archive.job import Job

if TYPE_CHECKING:
    from voxmood.archive.sources import Tally
    from voxmood.engine.session import Provider


def batch(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    provider: Provider = "cpu",
    threads: int | None = None,
    low_memory: bool = False,
    windows: tuple[float, float] | None = None,
    resume: bool = False,
    force: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
) -> Tally:
    """Label recordings into a table, a row each.

    Args:
        sources: files, folders, globs, and CSV manifests with a column `path`, which is relative to
            the manifest's folder; with Ray also URIs such as `s3://bucket/folder`.
        output: a `.csv` or `.jsonl` file; with Ray a folder of Parquet files, or the URI of one.
        model: the name of a bundle, as `voxmood.load` takes it; None takes the one that ships.
        provider: as `voxmood.load` takes it.
        threads: of this machine, for all recordings together; None takes all there are.
        low_memory: as `voxmood.load` takes it.
        windows: length and hop in seconds, for a row for each window; None for whole recordings.
        resume: go on with a run that was stopped.
        force: replace the output.
        engine: `local`, or `ray` (extra `ray`) for more than one machine.
        address: of a Ray cluster; None starts Ray on this machine.

    Returns:
        How many recordings the table has, how many of them have an error, and the commonest causes.

    Raises:
        OutputError: the output exists, was made otherwise, is an input, or cannot be written.
        MissingFileError, AudioError, ManifestError: a source stands for nothing.
        BundleError, ProviderError: the model does not load.
        ClusterError: Ray or the storage is out of reach, or the job failed.
        MissingExtraError: the engine needs Ray, which is not installed.
    """
    from voxmood.archive.sources import Search  # imported late, since sqlite3 takes a while

    job = Job(
        sources=tuple(os.fspath(source) for source in sources),
        output=os.fspath(output),
        model=None if model is None else os.fspath(model),
        provider=provider,
        threads=threads,
        low_memory=low_memory,
        windows=windows,
        resume=resume,
        force=force,
    )
    if engine == "ray":
        from voxmood.archive import ray

        return ray.run(job, Search(), address)
    from voxmood.archive import local

    return local.run(job, Search())
