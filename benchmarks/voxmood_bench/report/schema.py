"""The report of `voxmood bench run`: one dataclass for each object of its JSON.

`voxmood_bench.report.typed_json` reads and writes them. A field is named as its key, or has the key
in its metadata. A field whose default is None is left out of the JSON where it is None; every other
field is always written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION = 1
"""The version of the report's JSON that this release reads and writes."""

AGAIN = "again"
"""Ends the name of the second copy of an engine, by which a run measures its own noise."""

DRIFT_PERCENTILES = tuple(range(0, 101, 5))
"""The percentages of recordings that `Closeness.drift_quantiles` are given for."""


@dataclass(frozen=True)
class Machine:
    """The machine that a run was made on."""

    cpu: str  # the name of the processor
    flags: Mapping[str, bool]  # whether it has each instruction set that matters here
    cores: int | None  # logical ones
    system: str  # operating system and architecture
    python: str  # version

    def describe(self) -> str:
        """Return the machine in one line."""
        flags = " ".join(f"{'+' if there else '-'}{flag}" for flag, there in self.flags.items())
        return f"{self.cpu}, {self.cores} cores, {flags}"


@dataclass(frozen=True)
class ReferenceFacts:
    """The original model: the engine that runs it, its checkpoint and the revision of that."""

    engine: str
    checkpoint: str
    revision: str | None
    how: str | None = None  # in a sentence, what runs the checkpoint


@dataclass(frozen=True)
class Headline:
    """The length of audio and the number of threads that figures are of where one is shown."""

    seconds: float
    threads: int


@dataclass(frozen=True)
class AudioFacts:
    """The recordings of a run."""

    dataset: str  # the name of the dataset or folder
    recordings: int  # how many there are
    speakers: int  # how many speakers they name
    labels: Mapping[str, int]  # recordings of each label; empty where they have none
    left_out: Mapping[str, int]  # recordings of each label that the mapping of labels left out
    # How many other recordings NNCF calibrates on; 0 if on these; None if it makes no engine.
    calibrated_on: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """An engine of a run."""

    baseline: bool = field(metadata={"key": "peer"})  # neither the reference nor the bundle
    versions: Mapping[str, str]  # of the packages that it is made of
    error: str | None  # why it failed at the first length, if it did


@dataclass(frozen=True)
class Ratio:
    """A ratio of two engines' median times, with its 95 % interval."""

    ratio: float
    interval: tuple[float, float]
    in_noise: bool  # whether the ratio cannot be told from 1


@dataclass(frozen=True)
class Latency:
    """The time that one engine takes for one length of audio."""

    first_ms: float  # milliseconds of the first call
    median_ms: float  # the median of the rounds' medians
    p25_ms: float  # this and the next two: percentiles over all runs
    p75_ms: float
    p95_ms: float
    runs: int
    real_time_factor: float  # the median over the length of the audio
    of_reference: Ratio | None = None  # this engine's time over the reference's
    main_of_it: Ratio | None = None  # the time of the bundle's main engine over this engine's


@dataclass(frozen=True)
class SpeedCell:
    """The speed of all engines at one length of audio and number of threads."""

    seconds: float  # of audio
    threads: int  # of each engine
    rounds: int
    noise: float | None  # how far from 1 an engine's ratio to its copy may be; None without a copy
    others: float  # the share of the machine that other processes had, the median over turns
    disturbed: float  # the share of turns in which other processes had too much of it
    engines: Mapping[str, Latency]  # those that did not fail
    errors: Mapping[str, str]  # why the others failed


@dataclass(frozen=True)
class Start:
    """An engine and the way in which it is loaded, which is empty for the usual way."""

    engine: str
    way: str


@dataclass(frozen=True)
class StartFigures:
    """What starting an engine takes, in seconds, milliseconds and megabytes."""

    import_s: float  # of the engine's packages
    load_s: float  # of the model
    first_run_ms: float
    later_run_ms: float  # of a run after warming up
    private_mb: float  # memory that the process alone holds
    peak_resident_mb: float  # counts mapped pages of the model's file too, which can be dropped


@dataclass(frozen=True)
class Startup(StartFigures, Start):
    """What starting an engine takes, each figure the median over fresh processes."""

    threads: int
    disk_mb: float
    installed_mb: float


@dataclass(frozen=True)
class StartupFailure(Start):
    """Why an engine did not start."""

    error: str


@dataclass(frozen=True)
class Closeness:
    """How near an engine's answers are to the reference's, whatever the true labels are."""

    engine: str
    agreement: float  # the share of recordings that get the same label, or the same set of labels
    sqnr_db: float | None  # of logits, centered; None if equal to the bit: JSON has no infinity
    max_logit_error: float  # the largest difference of a logit
    max_drift: float  # of the largest change of a probability in a recording
    mean_drift: float
    drift_quantiles: Sequence[float]  # the same at `DRIFT_PERCENTILES`


@dataclass(frozen=True)
class ValueCloseness:
    """State how near one value of a regression is to the reference's, over all recordings."""

    ccc: float | None  # Lin's concordance correlation coefficient; None of a single recording
    max_error: float  # the largest difference
    mean_error: float


@dataclass(frozen=True)
class ValuesCloseness:
    """How near an engine's values are to the reference's, where the model gives values."""

    engine: str
    values: Mapping[str, ValueCloseness]  # by name
    sqnr_db: float | None  # of all values; None if equal to the bit

    @property
    def lowest_ccc(self) -> float:
        """The CCC of the value that is farthest from the reference's."""
        return min(math.nan if each.ccc is None else each.ccc for each in self.values.values())

    @property
    def max_error(self) -> float:
        """The largest difference of a value."""
        return max(each.max_error for each in self.values.values())


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, and whether speakers or recordings were drawn to find them."""

    drawn_by: str
    accuracy: tuple[float, float]
    uar: tuple[float, float]
    agreement: tuple[float, float]


@dataclass(frozen=True)
class ConfidenceBin:
    """The answers whose confidence lies in a bin."""

    answers: int
    confidence: float  # their mean confidence
    accuracy: float  # the share of right ones among them


@dataclass(frozen=True)
class Answered:
    """A point of the risk-coverage curve."""

    share: float  # of the answers that are given, the most confident ones
    accuracy: float  # the share of right ones among them


@dataclass(frozen=True)
class Scores(Closeness):
    """How often an engine is right as well, where the recordings have labels."""

    accuracy: float  # the share of recordings that get their true label
    uar: float  # the unweighted average recall of the labels that occur
    ece: float  # the expected calibration error
    confusion: Sequence[Sequence[int]]  # a row for each true label
    intervals: Intervals
    mcnemar_p: float  # of the exact McNemar test against the reference
    folds: Mapping[str, float] | None = None  # accuracy in each fold, where the dataset has folds
    bins: Sequence[ConfidenceBin] | None = None  # None in reports of older releases, as `risk`
    risk: Sequence[Answered] | None = None


@dataclass(frozen=True)
class AnswersFailure:
    """An engine that could not label the recordings, and why."""

    engine: str
    error: str


@dataclass(frozen=True)
class TimeProfile:
    """Where the time of one run goes; `voxmood bench profile --json` prints this."""

    version: int  # of this object
    bundle: str
    precision: str
    seconds: float  # of audio
    threads: int
    machine: Machine
    onnxruntime: str  # version
    milliseconds: float  # of the whole run, under ONNX Runtime's profiler
    between_nodes: float  # milliseconds of it that belong to no node
    parts: Mapping[str, float]  # milliseconds of each part of the network
    operators: Mapping[str, float]  # milliseconds of each operator

    @property
    def all_parts(self) -> dict[str, float]:
        """Return the milliseconds of each part, and of the time between the nodes."""
        return {**self.parts, "between nodes": self.between_nodes}


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything that one run of `voxmood bench run` found."""

    version: int  # `VERSION`
    date: str  # in ISO 8601
    machine: Machine
    voxmood: str  # version
    bundle: str
    labels: Sequence[str]  # in the order of the logits
    reference: ReferenceFacts
    main: str  # the engine that `voxmood.load` chooses on a CPU
    headline: Headline
    protocol: str  # what was timed, in sentences
    audio: AudioFacts
    engines: Mapping[str, EngineFacts]  # in the order in which they are shown
    speed: Sequence[SpeedCell]
    start: Sequence[Startup | StartupFailure]
    accuracy: Sequence[Scores | Closeness | ValuesCloseness | AnswersFailure]
    profile: Sequence[TimeProfile]

    @property
    def headline_cell(self) -> SpeedCell:
        """Return the cell of `speed` that stands for all where only one is shown."""
        where = (self.headline.seconds, self.headline.threads)
        return next(cell for cell in self.speed if (cell.seconds, cell.threads) == where)

    @property
    def peaks(self) -> dict[str, float]:
        """Return the peak memory in MB of each engine that starts, loaded in the usual way."""
        return {
            row.engine: row.peak_resident_mb
            for row in self.start
            if isinstance(row, Startup) and not row.way
        }

    @property
    def answers(self) -> dict[str, Closeness]:
        """Return how near the answers of each engine are that could label the recordings."""
        return {row.engine: row for row in self.accuracy if isinstance(row, Closeness)}

    @property
    def values(self) -> dict[str, ValuesCloseness]:
        """Return how near the values of each engine are, where the model gives values."""
        return {row.engine: row for row in self.accuracy if isinstance(row, ValuesCloseness)}

    @property
    def scores(self) -> dict[str, Scores]:
        """Return the scores of each engine, where the recordings have labels."""
        return {row.engine: row for row in self.accuracy if isinstance(row, Scores)}
