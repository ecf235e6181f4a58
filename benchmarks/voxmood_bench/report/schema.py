"""The report of `voxmood bench run`: one dataclass for each object of its JSON.

`voxmood_bench.report.typed_json` reads and writes them. A field is named as its key, or has the key
in its metadata. A field whose default is None is left out of the JSON where it is None; every other
field is always written.
"""

from __future__ import annotations

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
    """The machine that a run was made on.

    Attributes:
        cpu: the name of the processor.
        flags: whether the processor has each instruction set that matters here.
        cores: the number of logical cores.
        system: the operating system and architecture.
        python: the version of Python.
    """

    cpu: str
    flags: Mapping[str, bool]
    cores: int | None
    system: str
    python: str

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


@dataclass(frozen=True)
class Headline:
    """The length of audio and the number of threads that figures are of where one is shown."""

    seconds: float
    threads: int


@dataclass(frozen=True)
class AudioFacts:
    """The recordings of a run.

    Attributes:
        dataset: the name of the dataset or folder.
        recordings: how many there are.
        speakers: how many speakers they name.
        labels: how many recordings have each label; empty where they have none.
        left_out: how many recordings of each label the mapping of labels left out.
    """

    dataset: str
    recordings: int
    speakers: int
    labels: Mapping[str, int]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class EngineFacts:
    """An engine of a run.

    Attributes:
        baseline: whether it is neither the reference nor the bundle.
        versions: the versions of the packages that it is made of.
        error: why it failed at the first length, if it did.
    """

    baseline: bool = field(metadata={"key": "peer"})
    versions: Mapping[str, str]
    error: str | None


@dataclass(frozen=True)
class Ratio:
    """A ratio of two engines' median times, with its 95 % interval.

    `in_noise` says whether the ratio cannot be told from 1.
    """

    ratio: float
    interval: tuple[float, float]
    in_noise: bool


@dataclass(frozen=True)
class Latency:
    """The time that one engine takes for one length of audio.

    Attributes:
        first_ms: milliseconds of the first call.
        median_ms: the median of the rounds' medians.
        p25_ms, p75_ms, p95_ms: percentiles over all runs.
        runs: the number of runs.
        real_time_factor: the median over the length of the audio.
        of_reference: this engine's time over the reference's.
        main_of_it: the time of the bundle's main engine over this engine's.
    """

    first_ms: float
    median_ms: float
    p25_ms: float
    p75_ms: float
    p95_ms: float
    runs: int
    real_time_factor: float
    of_reference: Ratio | None = None
    main_of_it: Ratio | None = None


@dataclass(frozen=True)
class SpeedCell:
    """The speed of all engines at one length of audio and number of threads.

    Attributes:
        seconds: the length of the audio.
        threads: the threads of each engine.
        rounds: how many rounds there were.
        noise: how far from 1 the ratio of an engine to its copy may be; None without a copy.
        others: the share of the machine that other processes had, the median over turns.
        disturbed: the share of turns in which other processes had too much of it.
        engines: the latency of each engine that did not fail.
        errors: why each of the others failed.
    """

    seconds: float
    threads: int
    rounds: int
    noise: float | None
    others: float
    disturbed: float
    engines: Mapping[str, Latency]
    errors: Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """An engine and the way in which it is loaded, which is empty for the usual way."""

    engine: str
    way: str


@dataclass(frozen=True)
class StartFigures:
    """What starting an engine takes.

    Attributes:
        import_s, load_s: seconds to import the engine's packages and to load the model.
        first_run_ms, later_run_ms: milliseconds of the first call and of one after warming up.
        private_mb: megabytes of memory that the process alone holds.
        peak_resident_mb: the most memory it ever had; it counts mapped pages of the model's file
            too, which the system can drop.
    """

    import_s: float
    load_s: float
    first_run_ms: float
    later_run_ms: float
    private_mb: float
    peak_resident_mb: float


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
    """How near the answers of an engine are to the reference's, whatever the true labels are.

    Attributes:
        engine: its name.
        agreement: the share of recordings that get the same label.
        sqnr_db: of the centered logits; None where they agree to the bit, as JSON has no infinity.
        max_logit_error: the largest difference of a logit.
        max_drift, mean_drift: of the largest change of a probability in a recording.
        drift_quantiles: the same at `DRIFT_PERCENTILES`.
    """

    engine: str
    agreement: float
    sqnr_db: float | None
    max_logit_error: float
    max_drift: float
    mean_drift: float
    drift_quantiles: Sequence[float]


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, and whether speakers or recordings were drawn to find them."""

    drawn_by: str
    accuracy: tuple[float, float]
    uar: tuple[float, float]
    agreement: tuple[float, float]


@dataclass(frozen=True)
class Scores(Closeness):
    """How often an engine is right as well, where the recordings have labels.

    Attributes:
        accuracy: the share of recordings that get their true label.
        uar: the unweighted average recall of the labels that occur.
        ece: the expected calibration error.
        confusion: the confusion matrix, a row for each true label.
        intervals: of accuracy, UAR and agreement.
        mcnemar_p: of the exact McNemar test against the reference.
        folds: the accuracy in each fold, where the dataset has folds.
    """

    accuracy: float
    uar: float
    ece: float
    confusion: Sequence[Sequence[int]]
    intervals: Intervals
    mcnemar_p: float
    folds: Mapping[str, float] | None = None


@dataclass(frozen=True)
class AnswersFailure:
    """An engine that could not label the recordings, and why."""

    engine: str
    error: str


@dataclass(frozen=True)
class TimeProfile:
    """Where the time of one run of a bundle goes; `voxmood bench profile --json` prints it.

    Attributes:
        version: of this object.
        bundle, precision: what ran.
        seconds: the length of the audio.
        threads: the threads that ran it.
        machine: where.
        onnxruntime: the version of ONNX Runtime.
        milliseconds: of the whole run, under ONNX Runtime's profiler.
        between_nodes: milliseconds of it that belong to no node.
        parts, operators: milliseconds of each part of the network and of each operator.
    """

    version: int
    bundle: str
    precision: str
    seconds: float
    threads: int
    machine: Machine
    onnxruntime: str
    milliseconds: float
    between_nodes: float
    parts: Mapping[str, float]
    operators: Mapping[str, float]

    @property
    def all_parts(self) -> dict[str, float]:
        """Return the milliseconds of each part, and of the time between the nodes."""
        return {**self.parts, "between nodes": self.between_nodes}


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything that one run of `voxmood bench run` found.

    Attributes:
        version: `VERSION`.
        date: of the run, in ISO 8601.
        machine: where it was.
        voxmood: the version of voxmood.
        bundle, labels: the bundle's name, and its labels in the order of the logits.
        reference: what the bundle was compared with.
        main: the engine that `voxmood.load` chooses on a CPU.
        headline: which cell of `speed` stands for all.
        protocol: what was timed, in sentences.
        audio: the recordings.
        engines: all engines, in the order in which they are shown.
        speed, start, accuracy, profile: the figures.
    """

    version: int
    date: str
    machine: Machine
    voxmood: str
    bundle: str
    labels: Sequence[str]
    reference: ReferenceFacts
    main: str
    headline: Headline
    protocol: str
    audio: AudioFacts
    engines: Mapping[str, EngineFacts]
    speed: Sequence[SpeedCell]
    start: Sequence[Startup | StartupFailure]
    accuracy: Sequence[Scores | Closeness | AnswersFailure]
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
    def scores(self) -> dict[str, Scores]:
        """Return the scores of each engine, where the recordings have labels."""
        return {row.engine: row for row in self.accuracy if isinstance(row, Scores)}
