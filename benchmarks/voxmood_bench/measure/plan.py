"""What one run of the suite measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxmood.audio.listing import Recording
from voxmood.bundle.description import Bundle, model_file
from voxmood_bench.engines.lineup import BASELINES, is_calibrated
from voxmood_bench.engines.models import checkpoint_key
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.schema import VERSION, AudioFacts, Headline, Machine
from voxmood_export.clips import evenly

HEADLINE_SECONDS = 5.0
CALIBRATION_RECORDINGS = 300  # at most, for NNCF; so many are its own default


@dataclass(frozen=True)
class PlanFacts:
    """All that decides what is measured; two runs with the same facts can share rows."""

    version: int
    machine: Machine
    bundle: Mapping[str, str]
    reference: str
    recordings: Sequence[tuple[str, str | None]]
    providers: Sequence[str]
    baselines: Sequence[str] = field(metadata={"key": "peers"})
    lengths: Sequence[float]
    threads: Sequence[int]
    rounds: tuple[int, int]
    starts: int
    calibration: Sequence[str] | None = None  # None if no engine needs it


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        bundle: its folder.
        reference: the original checkpoint, a folder or a hub id.
        recordings: are labeled, and timed one after another; without labels they are not scored.
        dataset: what the report calls the recordings.
        left_out: how many recordings of each label the mapping of labels leaves out.
        providers: those that the bundle runs on, as `lineup` takes them.
        baselines: what the bundle is compared with, as `lineup` takes them.
        lengths: of audio, in seconds.
        threads: each engine runs on each of these numbers.
        rounds: at least this many; a third of it at lengths other than the headline's.
        most_rounds: rounds go on until the ratios are narrow, or there are this many, or, at other
            lengths, a minute has passed.
        starts: how many fresh processes of each engine are started.
        cache: keeps environments and converted models.
        others: recordings for NNCF to calibrate on, neither timed nor compared on. If there are
            none, it calibrates on those that are.
    """

    bundle: Path
    reference: str
    recordings: Sequence[Recording]
    dataset: str
    left_out: Mapping[str, int]
    providers: Sequence[str]
    baselines: Sequence[str]
    lengths: Sequence[float]
    threads: Sequence[int]
    rounds: int
    most_rounds: int
    starts: int
    cache: Path
    others: Sequence[Recording] = ()

    @property
    def labeled(self) -> bool:
        """Return whether the recordings have labels to score."""
        return all(recording.label for recording in self.recordings)

    @property
    def headline(self) -> Headline:
        """Return the cell that figures are of where only one is shown: 5 s if it is measured."""
        seconds = HEADLINE_SECONDS if HEADLINE_SECONDS in self.lengths else self.lengths[0]
        return Headline(seconds, max(self.threads))

    def least_rounds(self, seconds: float) -> int:
        """Return how many rounds there are at least for a length of audio."""
        return self.rounds if seconds == self.headline.seconds else max(3, self.rounds // 3)

    @property
    def calibration(self) -> Sequence[Recording] | None:
        """Return the recordings that NNCF calibrates on; None if it makes no engine of the plan."""
        if not any(is_calibrated(BASELINES[name]) for name in self.baselines):
            return None
        return evenly(self.others or self.recordings, CALIBRATION_RECORDINGS)

    def audio_facts(self, labels: Sequence[str]) -> AudioFacts:
        """Return what the report says of the recordings, given the labels of the model."""
        calibrated = self.calibration
        given = [recording.label for recording in self.recordings]
        return AudioFacts(
            dataset=self.dataset,
            recordings=len(self.recordings),
            speakers=len({recording.speaker for recording in self.recordings} - {"", None}),
            labels={label: given.count(label) for label in labels} if self.labeled else {},
            left_out=self.left_out,
            calibrated_on=None if calibrated is None else len(calibrated) * bool(self.others),
        )

    def facts(self, bundle: Bundle) -> PlanFacts:
        """Return all that decides what is measured."""
        calibrated = self.calibration
        return PlanFacts(
            version=VERSION,
            machine=machine(),
            bundle={
                name: entry.files[model_file(name)].sha256
                for name, entry in bundle.precisions.items()
            },
            reference=checkpoint_key(self.reference),
            recordings=[(recording.path.name, recording.label) for recording in self.recordings],
            providers=self.providers,
            baselines=self.baselines,
            lengths=self.lengths,
            threads=self.threads,
            rounds=(self.rounds, self.most_rounds),
            starts=self.starts,
            calibration=None
            if calibrated is None
            else [recording.path.name for recording in calibrated],
        )
