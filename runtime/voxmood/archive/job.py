"""What a batch is asked to do, whichever engine does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voxmood.archive.rows import Labeler

if TYPE_CHECKING:
    from voxmood.engine.session import Provider


@dataclass(frozen=True)
class Job:
    """What to label, with which model, and where the rows go.

    Attributes:
        sources: files, folders, globs and CSV manifests; with Ray also URIs.
        output: a `.csv` or `.jsonl` file; with Ray a folder of Parquet files, or the URI of one.
        model: the name of a bundle, as `voxmood.load` takes it; None takes the one that ships.
        provider: as `voxmood.load` takes it.
        threads: of this machine, for all recordings together; None takes all there are.
        low_memory: as `voxmood.load` takes it.
        windows: length and hop in seconds, for a row for each window; None for whole recordings.
        resume: go on with a run that was stopped.
        force: replace the output.
    """

    sources: tuple[str, ...]
    output: str
    model: str | None = None
    provider: Provider = "cpu"
    threads: int | None = None
    low_memory: bool = False
    windows: tuple[float, float] | None = None
    resume: bool = False
    force: bool = False

    def labeler(self, columns: tuple[str, ...], threads: int) -> Labeler:
        """Load the model; return what answers with rows.

        Args:
            columns: of the manifests, which the rows carry.
            threads: for one recording.
        """
        from voxmood.model import load

        model = load(
            self.model, provider=self.provider, threads=threads, low_memory=self.low_memory
        )
        return Labeler(model, self.windows, columns)

    def model_files(self) -> list[Path]:
        """Return the files of the bundle, if it is on this machine; no output may be one."""
        from voxmood.bundle.locate import bundle_files

        return bundle_files(self.model)
