"""The public function `voxmood.batch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from voxmood.archive.job import Job

if TYPE_CHECKING:
    from voxmood.archive.sources import Tally
    from voxmood.audio import Channel
    from voxmood.engine.session import Provider


def batch(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    provider: Provider = "cpu",
    device: str | None = None,
    threads: int | None = None,
    low_memory: bool = False,
    windows: tuple[float, float] | None = None,
    speech: bool = False,
    channel: Channel = "mix",
    min_confidence: float | None = None,
    resume: bool = False,
    force: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
) -> Tally:
    """Label recordings and write a table with one row for each of them.

    Args:
        sources: files, folders, globs, and CSV manifests with a column `path`, which is relative to
            the manifest's folder; pipes and `-`, which is standard input, are manifests, too, and
            their paths are relative to the current folder; with Ray also URIs such as `s3://bucket/folder`.
        output: a `.csv` or `.jsonl` file; with Ray a folder of Parquet files, or its URI.
        model: the name of a bundle, as `voxmood.load` takes it; None takes the one that ships.
        provider: the execution provider, as `voxmood.load` takes it.
        device: the type of hardware that it must run on, as `voxmood.load` takes it.
        threads: number of threads for all recordings together; None takes all of this machine.
        low_memory: save memory, as `voxmood.load` does.
        windows: length and hop of windows in seconds, which get one row each; None labels whole
            recordings.
        speech: whether to label stretches of speech instead of windows, as `Model.timeline` does
            (extra `vad`); their longest length is that of the windows.
        channel: which channel, as `voxmood.Model.predict` takes it; of `each`, every channel of a
            recording has rows of its own.
        min_confidence: the least probability of a label, as `voxmood.load` takes it; with it, or
            where the bundle is calibrated, rows have `unsure`.
        resume: continue a run that was stopped. The rows that it has written stay as they are,
            also where the values in a manifest have changed since.
        force: replace the output.
        engine: `local`, or `ray` (extra `ray`) for more than one machine.
        address: address of a Ray cluster; None starts Ray on this machine.

    Returns:
        The number of recordings in the table, how many of them have an error, and the most common
        causes.

    Raises:
        OutputError: the output already exists, was made with other settings, is also an input, or
            cannot be written.
        MissingFileError: a source is missing.
        AudioError: a folder holds no recordings, or the model does not take such windows.
        ManifestError: a manifest cannot be used, or a recording is named twice.
        BundleError, ProviderError: the model does not load.
        ClusterError: Ray or the storage cannot be reached, or the job failed.
        MissingExtraError: the engine needs Ray, which is not installed.
    """
    from voxmood.archive.sources import Search  # imported late, because sqlite3 loads slowly

    job = Job(
        sources=tuple(os.fspath(source) for source in sources),
        output=os.fspath(output),
        model=None if model is None else os.fspath(model),
        provider=provider,
        device=device,
        threads=threads,
        low_memory=low_memory,
        windows=windows,
        speech=speech,
        channel=channel,
        min_confidence=min_confidence,
        resume=resume,
        force=force,
    )
    if engine == "ray":
        from voxmood.archive import ray

        return ray.run(job, Search(), address)
    from voxmood.archive import local

    return local.run(job, Search())
