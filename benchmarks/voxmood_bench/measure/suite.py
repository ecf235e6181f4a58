"""One run of the whole suite: speed, start and memory, accuracy, and where the time goes.

Each part writes a row as it finishes, and speed writes one each round, so that an interrupted run
can go on where it was. An engine that fails, or is far too slow on this machine, is left out of the
parts that follow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import voxmood
from voxmood import AudioError, VoxmoodError
from voxmood.bundle.description import read_bundle
from voxmood_bench.engines.lineup import (
    BASELINES,
    CUDA_BASELINES,
    REFERENCE,
    Engine,
    is_model,
    lineup,
    main_engine,
    needs_class,
)
from voxmood_bench.engines.models import Models
from voxmood_bench.engines.original import original
from voxmood_bench.engines.process import LoadSettings, write_clips
from voxmood_bench.engines.reference import Reference
from voxmood_bench.engines.sizes import installed_bytes, required_bytes
from voxmood_bench.errors import BenchmarkError, DatasetError
from voxmood_bench.measure.accuracy import (
    baseline_logits,
    closeness,
    scores,
    values_closeness,
)
from voxmood_bench.measure.datasets import joined
from voxmood_bench.measure.latency import SpeedRow, speed_cell
from voxmood_bench.measure.machine import machine
from voxmood_bench.measure.plan import Plan
from voxmood_bench.measure.profile import profile_bundle
from voxmood_bench.measure.rounds import PROTOCOL, Turns, run_rounds
from voxmood_bench.measure.rows import Rows
from voxmood_bench.measure.startup import measure_start
from voxmood_bench.report.schema import (
    VERSION,
    AnswersFailure,
    BenchmarkReport,
    Closeness,
    EngineFacts,
    ReferenceFacts,
    Scores,
    Startup,
    StartupFailure,
    TimeProfile,
    ValuesCloseness,
)
from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.clips import beginning

OTHER_LENGTH_SECONDS = 60.0  # for rounds beyond the least, where the figure is not the headline's
CALIBRATION_SECONDS = 5.0  # of each recording at most, for NNCF
KEEP_EVERY = 20  # recordings
REFERENCE_PACKAGES = ("torch", "transformers", "librosa")

Answers: TypeAlias = Scores | Closeness | ValuesCloseness | AnswersFailure
Progress = Callable[[str, float], None]
"""Is called with what is being done, and how many steps were done since the last call."""

# What the steps take, in turns of an engine in a round, so that a progress bar keeps pace.
LOAD, LABEL, PROFILE = 6.0, 0.2, 12.0


@dataclass
class LogitsRow:
    """The logits of an engine so far, [recordings, labels]."""

    logits: list[list[float]] = field(default_factory=list)


class Suite:
    """Measures a plan, row by row, into a folder.

    Args:
        plan: what to measure.
        output: the folder; rows of the same plan that it holds are not measured again.
        progress: for a progress bar.

    Raises:
        DatasetError: the reference has another task or other labels than the bundle.
        ReportError: the folder holds rows of another plan.
    """

    def __init__(
        self, plan: Plan, output: Path, progress: Progress = lambda step, done: None
    ) -> None:
        self.plan, self.progress = plan, progress
        self.bundle = read_bundle(plan.bundle)
        checkpoint = load_checkpoint(plan.reference)
        self._check(checkpoint)
        self._revision, self._original = checkpoint.revision, original(checkpoint)
        self.engines = lineup(
            self.bundle, plan.providers, plan.baselines, own_class=self._original.own_class
        )
        self.rows = Rows(output / "rows", plan.facts(self.bundle))
        # Engines that are not tried, or not any more, and why.
        self.failed: Mapping[str, str] = {
            name: "transformers has no class with the checkpoint's head."
            for name, engine in self.engines.items()
            if needs_class(engine) and not self._original.has_class
        }

    def _check(self, checkpoint: Checkpoint) -> None:
        task, labels = checkpoint.model.task, checkpoint.labels
        if task != self.bundle.task:
            raise DatasetError(
                f"{self.plan.reference}: does {task}, and the bundle does {self.bundle.task}; name "
                "the checkpoint that the bundle was exported from."
            )
        if labels != self.bundle.labels:
            how = "in another order" if set(labels) == set(self.bundle.labels) else "other ones"
            raise DatasetError(
                f"{self.plan.reference}: its labels are {', '.join(labels)}, {how} than the "
                f"bundle's {', '.join(self.bundle.labels)}; name the checkpoint that the bundle "
                "was exported from, or export it again."
            )

    @property
    def models(self) -> dict[str, Engine]:
        """Return the engines that are models of their own."""
        return {name: engine for name, engine in self.engines.items() if is_model(name)}

    @property
    def steps(self) -> float:
        """Return the sum of what `progress` will be told of, if no more rounds are needed."""
        plan, models = self.plan, len(self.models)
        rounds = sum(LOAD + plan.least_rounds(length) for length in plan.lengths)
        starts = (models + len(_ways_to_load(LoadSettings()))) * plan.starts * LOAD
        labeled = models * len(plan.recordings) * LABEL
        profiles = len(self.bundle.precisions) * PROFILE
        return rounds * len(self.engines) * len(plan.threads) + starts + labeled + profiles

    def run(self) -> BenchmarkReport:
        """Measure what is not there yet, and return the report.

        Raises:
            BenchmarkError: the reference cannot be run.
            AudioError: a recording cannot be read.
        """
        plan, rate = self.plan, self.bundle.sampling_rate
        paths = [recording.path for recording in plan.recordings]
        timed = joined(paths, rate, max(plan.lengths))
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            clips = {length: scratch / f"{length:g}.npy" for length in plan.lengths}
            for length, path in clips.items():
                np.save(path, timed[: round(length * rate)])
            calibration = scratch / "calibration.npz"
            if plan.calibration is not None:
                beginnings = (
                    beginning(recording.path, rate, CALIBRATION_SECONDS)
                    for recording in plan.calibration
                )
                write_clips(calibration, beginnings)
            models = Models(
                plan.reference,
                plan.bundle.resolve(),
                self.bundle,
                plan.headline.threads,
                plan.cache,
                clips[plan.headline.seconds],
                calibration,
            )
            rows = [
                self._speed(models.at(threads, clips[length]), length)
                for threads in plan.threads
                for length in plan.lengths
            ]
            starts = self._starts(models)
            profiles = [self._profile(precision) for precision in self.bundle.precisions]
            answers = self._answers(models, scratch / "clip.npy")
        return self._report(rows, starts, answers, profiles)

    def _speed(self, models: Models, length: float) -> SpeedRow:
        name = f"speed-{models.threads}-threads-{length:g}-s"
        row = self.rows.read(name, SpeedRow) or SpeedRow(models.threads, length)
        if row.complete:
            self.progress(name, len(self.engines) * (LOAD + len(row.rounds)))
            self.failed = {**self.failed, **row.errors}
            return row
        errors = dict(self.failed)
        title = f"{length:g} s of audio, {models.threads} threads"
        with ExitStack() as stack:
            workers = {}
            for engine in self.engines:
                self.progress(f"{title}: load {engine}", LOAD)
                if engine in errors:
                    continue
                try:
                    worker, loaded = models.load(engine, self.engines[engine])
                except VoxmoodError as error:
                    errors[engine] = str(error)
                    continue
                stack.callback(worker.close)
                workers[engine] = worker
                row.versions[engine] = loaded.versions
            if REFERENCE in errors:
                raise BenchmarkError(f"the reference cannot be loaded: {errors[REFERENCE]}")
            turns = Turns(workers, models.audio, REFERENCE)
            if not row.rounds:
                row.first_ms = turns.first_ms
            self.progress(title, len(self.engines) * len(row.rounds))

            def keep(row: SpeedRow) -> None:
                self.rows.write(name, row)
                self.progress(f"{title}: round {len(row.rounds)}", len(self.engines))

            run_rounds(
                turns,
                row,
                rounds=self.plan.least_rounds(length),
                most_rounds=self.plan.most_rounds,
                seconds=inf if length == self.plan.headline.seconds else OTHER_LENGTH_SECONDS,
                reference=REFERENCE,
                keep=keep,
            )
        row.errors = errors | turns.errors
        self.failed = row.errors
        row.complete = True
        self.rows.write(name, row)
        return row

    def _starts(self, models: Models) -> list[Startup | StartupFailure]:
        wanted = [(name, "", engine.settings) for name, engine in self.models.items()]
        main = main_engine(self.bundle)
        if main in self.engines:
            ways = _ways_to_load(self.engines[main].settings)
            wanted += [(main, way, settings) for way, settings in ways.items()]
        return [self._start(models, engine, way, settings) for engine, way, settings in wanted]

    def _start(
        self, models: Models, name: str, way: str, settings: LoadSettings
    ) -> Startup | StartupFailure:
        self.progress(f"start {name}, {way}" if way else f"start {name}", LOAD * self.plan.starts)
        row_name = f"start-{name}-{way}" if way else f"start-{name}"
        row = self.rows.read(row_name, Startup)
        if row is not None:
            return row
        if name in self.failed:
            return StartupFailure(name, way, self.failed[name])
        engine = self.engines[name]
        try:
            load = partial(models.load, name, engine, settings)
            figures = measure_start(load, models.audio, self.plan.starts)
            row = Startup(
                engine=name,
                way=way,
                **asdict(figures),
                threads=models.threads,
                disk_mb=models.disk_bytes(engine) / 1e6,
                installed_mb=self._installed(engine) / 1e6,
            )
        except VoxmoodError as error:
            return StartupFailure(name, way, str(error))
        self.rows.write(row_name, row)
        return row

    def _installed(self, engine: Engine) -> int:
        if engine.environment:
            return installed_bytes(engine.environment, self.plan.cache)
        if engine.kind == "pytorch":
            return required_bytes(REFERENCE_PACKAGES)
        package = Path(voxmood.__file__).parent
        own = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
        return own + required_bytes(("voxmood[cpu,gpu,openvino]",))

    def _profile(self, precision: str) -> TimeProfile:
        self.progress(f"profile {precision}", PROFILE)
        row = self.rows.read(f"profile-{precision}", TimeProfile)
        if row is None:
            where = self.plan.headline
            row = profile_bundle(
                str(self.plan.bundle), precision, seconds=where.seconds, threads=where.threads
            )
            self.rows.write(f"profile-{precision}", row)
        return row

    def _answers(self, models: Models, scratch: Path) -> list[Answers]:
        logits: dict[str, np.ndarray[Any, Any]] = {}
        found: list[Answers] = []
        for name, engine in self.models.items():
            if name in self.failed:
                found.append(AnswersFailure(name, self.failed[name]))
                continue
            try:
                logits[name] = self._logits(name, engine, models, scratch)
            except AudioError:
                raise
            except VoxmoodError as error:
                if name == REFERENCE:
                    raise
                found.append(AnswersFailure(name, str(error)))
                continue
            ours, reference = logits[name], logits[REFERENCE]
            labels, task = self.bundle.labels, self.bundle.task
            if task == "regression":
                calibration = self.bundle.calibration
                if calibration and engine.model in ("bundle", "fp32"):  # which the graph applies
                    reference = reference * calibration.scales + calibration.offsets
                found.append(values_closeness(name, labels, reference, ours))
            elif self.plan.labeled:
                recordings = self.plan.recordings
                divisor = self.bundle.temperature if engine.model == "bundle" else 1.0
                found.append(scores(name, labels, recordings, ours, reference, divisor))
            else:
                found.append(closeness(name, reference, ours, task))
        return found

    def _logits(
        self, name: str, engine: Engine, models: Models, scratch: Path
    ) -> np.ndarray[Any, Any]:
        recordings = self.plan.recordings
        row_name = f"logits-{name}"
        row = self.rows.read(row_name, LogitsRow) or LogitsRow()
        self.progress(f"label with {name}", LABEL * len(row.logits))
        if len(row.logits) < len(recordings):
            with ExitStack() as stack:
                answer: Callable[[Path], np.ndarray[Any, Any]]
                if name == REFERENCE:
                    answer = Reference(
                        self.plan.reference,
                        own_class=engine.settings.own_class,
                        threads=models.threads,
                    ).logits_of
                elif engine.model == "bundle":
                    model = voxmood.load(
                        self.plan.bundle,
                        threads=models.threads,
                        precision=engine.settings.precision or "auto",
                        provider=engine.settings.provider,
                    )
                    answer = partial(_logits_of, model)
                else:
                    worker = stack.enter_context(models.load(name, engine)[0])
                    rate = self.bundle.sampling_rate
                    answer = partial(baseline_logits, worker, scratch=scratch, rate=rate)
                for recording in recordings[len(row.logits) :]:
                    row.logits.append(answer(recording.path).tolist())
                    self.progress(f"label with {name}", LABEL)
                    done = len(row.logits)
                    if done % KEEP_EVERY == 0 or done == len(recordings):
                        self.rows.write(row_name, row)
        return np.array(row.logits)

    def _report(
        self,
        rows: Sequence[SpeedRow],
        starts: Sequence[Startup | StartupFailure],
        answers: Sequence[Answers],
        profiles: Sequence[TimeProfile],
    ) -> BenchmarkReport:
        main, first = main_engine(self.bundle), rows[0]
        return BenchmarkReport(
            version=VERSION,
            date=datetime.now(UTC).date().isoformat(),
            machine=machine(),
            voxmood=voxmood.__version__,
            bundle=self.bundle.name,
            labels=list(self.bundle.labels),
            reference=ReferenceFacts(
                REFERENCE,
                Path(self.plan.reference).name,
                self._revision,
                self._original.how,
            ),
            main=main,
            headline=self.plan.headline,
            protocol=PROTOCOL,
            audio=self.plan.audio_facts(self.bundle.labels),
            engines={
                name: EngineFacts(
                    baseline=name in BASELINES | CUDA_BASELINES,
                    versions=first.versions.get(name, {}),
                    error=first.errors.get(name),
                )
                for name in self.engines
            },
            speed=[speed_cell(row, main, REFERENCE) for row in rows],
            start=starts,
            accuracy=answers,
            profile=profiles,
        )


def _logits_of(model: voxmood.Model, source: Path) -> np.ndarray[Any, Any]:
    return model.predict(source).logits


def _ways_to_load(settings: LoadSettings) -> dict[str, LoadSettings]:
    """Return the settings of each way in which the main engine can be loaded but the usual one."""
    return {
        "verify=False": replace(settings, verify=False),
        "low_memory=True": replace(settings, low_memory=True, verify=False),
    }
