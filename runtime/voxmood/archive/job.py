"""The description of a batch job, which every engine takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxmood.archive.rows import Labeler
    from voxmood.audio import Channel
    from voxmood.engine.session import Provider


@dataclass(frozen=True)
class Job:
    """A batch job: what to label, with which model, and where to write the rows.

    The attributes are the arguments of `voxmood.batch`, which describes them.
    """

    sources: tuple[str, ...]
    output: str
    model: str | None = None
    provider: Provider = "cpu"
    device: str | None = None
    threads: int | None = None
    low_memory: bool = False
    windows: tuple[float, float] | None = None
    speech: bool = False
    channel: Channel = "mix"
    min_confidence: float | None = None
    resume: bool = False
    force: bool = False

    def labeler(self, columns: tuple[str, ...], threads: int, *, given: bool = False) -> Labeler:
        """Load the model and return a labeler that uses it.

        Args:
            columns: columns of the manifests, which the rows repeat.
            threads: number of threads for one recording.
            given: whether stretches of recordings are listed.

        Raises:
            BundleError, ProviderError: the model does not load.
            AudioError: the model does not take such windows, or the channel is not valid.
        """
        from voxmood.archive.rows import Labeler
        from voxmood.model import load

        model = load(
            self.model,
            provider=self.provider,
            device=self.device,
            threads=threads,
            low_memory=self.low_memory,
            min_confidence=self.min_confidence,
        )
        return Labeler(model, self.windows, columns, self.channel, given, self.speech)

    def model_files(self) -> list[Path]:
        """Return the files of the bundle if it is on this machine; no output may replace them."""
        from voxmood.bundle.locate import bundle_files

        return bundle_files(self.model)
