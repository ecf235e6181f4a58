"""One run of the whole suite: speed, start and memory, accuracy, and where the time goes.

Each part writes a row as it finishes, speed one a round, so that an interrupted run goes on where
it was. An engine that fails, or is far too slow here, is not tried in the parts that follow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

import voxmood
from voxmood import AudioError, VoxmoodError
from voxmood.audio.listing import Recording
from voxmood.bundle.description import Bundle, model_file, read_bundle
from voxmood_bench import accuracy, memory, profile, speed
from voxmood_bench.engines import (
    AGAIN,
    CALIBRATION_SECONDS,
    ON_CUDA,
    PEERS,
    REFERENCE,
    Engine,
    Models,
    lineup,
    main_engine,
    speech,
)
from voxmood_bench.environments import checkpoint_key, installed_bytes, required_bytes
from voxmood_bench.errors import BenchmarkError, DatasetError
from voxmood_bench.machine import machine
from voxmood_bench.reference import Reference
from voxmood_bench.rows import Rows
from voxmood_bench.speed import Turns
from voxmood_bench.tables import VERSION
from voxmood_export.checkpoint import load_checkpoint

HEADLINE_SECONDS = 5.0
OTHER_LENGTH_SECONDS = 60.0  # for rounds beyond the least, where the figure is not the headline's
KEEP_EVERY = 20  # recordings
NO_MODEL = "int8 products alone"
WAYS_TO_LOAD: dict[str, dict[str, Any]] = {  # of the main engine, beside the usual one
    "verify=False": {"verify": False},
    "low_memory=True": {"low_memory": True, "verify": False},
}
REFERENCE_PACKAGES = ("torch", "transformers", "librosa")


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        bundle: its folder.
        reference: the original checkpoint, a folder or a hub id.
        recordings: to be labelled, and timed one after another; without labels none is scored.
        dataset: what they are, for the report.
        left_out: recordings that the mapping of labels leaves out, by label.
        providers, peers: as `engines.lineup` takes them.
        lengths: of audio, in seconds.
        threads: each engine runs on each of these.
        rounds: at least so many; a third of it at lengths other than 5 s.
        most_rounds: rounds go on until the ratios are narrow, or there are so many, or, at other
            lengths, a minute has passed.
        starts: fresh processes of each engine.
        cache: keeps environments and converted models.
    """

    bundle: Path
    reference: str
    recordings: Sequence[Recording]
    dataset: str
    left_out: Mapping[str, int]
    providers: Sequence[str]
    peers: Sequence[str]
    lengths: Sequence[float]
    threads: Sequence[int]
    rounds: int
    most_rounds: int
    starts: int
    cache: Path

    @property
    def labelled(self) -> bool:
        """Whether the recordings have labels to score."""
        return all(recording.label for recording in self.recordings)

    @property
    def headline(self) -> float:
        """The length that figures are of where only one is shown: 5 s if it is measured."""
        return HEADLINE_SECONDS if HEADLINE_SECONDS in self.lengths else self.lengths[0]

    def facts(self, bundle: Bundle) -> dict[str, Any]:
        """All that decides what is measured; two runs with the same can share rows."""
        return {
            "version": VERSION,
            "machine": machine(),
            "bundle": {
                name: entry.files[model_file(name)].sha256
                for name, entry in bundle.precisions.items()
            },
            "reference": checkpoint_key(self.reference),
            "recordings": [[recording.path.name, recording.label] for recording in self.recordings],
            "providers": list(self.providers),
            "peers": list(self.peers),
            "lengths": list(self.lengths),
            "threads": list(self.threads),
            "rounds": [self.rounds, self.most_rounds],
            "starts": self.starts,
        }


Progress = Callable[[str, int], None]
"""Is called with what is being done, and how many steps were done since."""


class Suite:
    """Measures a plan, row by row, into a folder.

    Args:
        plan: what to measure.
        output: the folder; rows of the same plan that it holds are not measured again.
        progress: for a progress bar.

    Raises:
        DatasetError: the reference's labels are not the bundle's.
        ReportError: the folder holds rows of another plan.
    """

    def __init__(
        self, plan: Plan, output: Path, progress: Progress = lambda step, done: None
    ) -> None:
        self.plan, self.progress = plan, progress
        self.bundle = read_bundle(plan.bundle)
        self._check_labels()
        self.engines = lineup(self.bundle, plan.providers, plan.peers)
        self.rows = Rows(output / "rows", plan.facts(self.bundle))
        self.failed: dict[str, str] = {}  # engines that are not tried any more, and why

    def _check_labels(self) -> None:
        checkpoint = load_checkpoint(self.plan.reference)
        self._revision, labels = checkpoint.revision, checkpoint.labels
        if labels != self.bundle.labels:
            how = "in another order" if set(labels) == set(self.bundle.labels) else "other ones"
            raise DatasetError(
                f"{self.plan.reference}: its labels are {', '.join(labels)}, {how} than the "
                f"bundle's {', '.join(self.bundle.labels)}; name the checkpoint that the bundle "
                "was exported from, or export it again."
            )

    @property
    def steps(self) -> int:
        """How many steps `progress` will be told of, if no more rounds are needed."""
        plan = self.plan
        names = [name for name in self.engines if self._is_model(name)]
        rounds = sum(len(self.engines) + self._least_rounds(length) for length in plan.lengths)
        labelled = len(names) * len(plan.recordings)
        starts = len(names) + len(WAYS_TO_LOAD)
        return rounds * len(plan.threads) + starts + labelled + len(self.bundle.precisions)

    @staticmethod
    def _is_model(name: str) -> bool:
        return name != NO_MODEL and not name.endswith(AGAIN)

    def _least_rounds(self, length: float) -> int:
        rounds = self.plan.rounds
        return rounds if length == self.plan.headline else max(3, rounds // 3)

    def run(self) -> dict[str, Any]:
        """Measures what is not there yet.

        Returns:
            The report, which is also what `report.json` holds.

        Raises:
            BenchmarkError: the reference cannot be run.
            AudioError: a recording cannot be read.
        """
        plan, rate = self.plan, self.bundle.sampling_rate
        paths = [recording.path for recording in plan.recordings]
        waveform = speech(paths, rate, CALIBRATION_SECONDS + max(plan.lengths))
        calibration, timed = np.split(waveform, [round(CALIBRATION_SECONDS * rate)])
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            clips = {length: scratch / f"{length:g}.npy" for length in plan.lengths}
            for length, path in clips.items():
                np.save(path, timed[: round(length * rate)])
            np.save(scratch / "calibration.npy", calibration)
            models = Models(
                plan.reference,
                plan.bundle.resolve(),
                self.bundle,
                max(plan.threads),
                plan.cache,
                clips[plan.headline],
                scratch / "calibration.npy",
            )
            cells = [
                self._speed(models.at(threads, clips[length]), length)
                for threads in plan.threads
                for length in plan.lengths
            ]
            starts = self._starts(models)
            profiles = [self._profile(precision) for precision in self.bundle.precisions]
            closeness = self._accuracy(models, scratch / "clip.npy")
        return self._report(cells, starts, closeness, profiles)

    def _speed(self, models: Models, length: float) -> dict[str, Any]:
        name = f"speed-{models.threads}-threads-{length:g}-s"
        row = self.rows.read(name)
        if row.get("complete"):
            self.progress(name, len(self.engines) + len(row["rounds"]))
            self.failed |= row["errors"]
            return row
        row = row or {
            "threads": models.threads, "seconds": length, "versions": {}, "rounds": [], "others": []
        }  # fmt: skip
        errors = dict(self.failed)
        title = f"{length:g} s of audio, {models.threads} threads"
        with ExitStack() as stack:
            workers = {}
            for engine in self.engines:
                self.progress(f"{title}: load {engine}", 1)
                if engine in errors:
                    continue
                try:
                    worker, loaded = models.load(engine, self.engines[engine])
                except VoxmoodError as error:
                    errors[engine] = str(error)
                    continue
                stack.callback(worker.close)
                workers[engine] = worker
                row["versions"][engine] = loaded["versions"]
            if REFERENCE in errors:
                raise BenchmarkError(f"the reference cannot be loaded: {errors[REFERENCE]}")
            turns = Turns(workers, str(models.audio), REFERENCE)
            if not row["rounds"]:
                row["first_ms"] = turns.first_ms
            self.progress(title, len(row["rounds"]))

            def keep(row: dict[str, Any]) -> None:
                self.rows.write(name, row)
                self.progress(f"{title}: round {len(row['rounds'])}", 1)

            speed.measure(
                turns,
                row,
                rounds=self._least_rounds(length),
                most_rounds=self.plan.most_rounds,
                seconds=inf if length == self.plan.headline else OTHER_LENGTH_SECONDS,
                reference=REFERENCE,
                keep=keep,
            )
        row["errors"] = self.failed = errors | turns.errors
        row["complete"] = True
        self.rows.write(name, row)
        return row

    def _starts(self, models: Models) -> list[dict[str, Any]]:
        main = main_engine(self.bundle)
        wanted: list[tuple[str, str, dict[str, Any]]] = [
            (name, "", {}) for name in self.engines if self._is_model(name)
        ]
        if main in self.engines:
            wanted += [(main, way, options) for way, options in WAYS_TO_LOAD.items()]
        found = []
        for engine, way, options in wanted:
            row_name = f"start-{engine}{way and '-' + way}"
            title = f"{engine}, {way}" if way else engine
            self.progress(f"start {title}", 1)
            row: dict[str, Any] = self.rows.read(row_name)
            if not row:
                row = {"engine": engine, "way": way}
                if engine in self.failed:
                    found.append(row | {"error": self.failed[engine]})
                    continue
                try:
                    row |= self._start(models, self.engines[engine], engine, options)
                    self.rows.write(row_name, row)
                except VoxmoodError as error:
                    row["error"] = str(error)
            found.append(row)
        return found

    def _start(
        self, models: Models, engine: Engine, name: str, options: dict[str, Any]
    ) -> dict[str, Any]:
        load = partial(models.load, name, engine, **options)
        figures = memory.start(load, str(models.audio), self.plan.starts)
        return figures | {
            "threads": models.threads,
            "disk_mb": models.disk_bytes(engine) / 1e6,
            "installed_mb": self._installed(engine) / 1e6,
        }

    def _installed(self, engine: Engine) -> int:
        if engine.environment:
            return installed_bytes(engine.environment, self.plan.cache)
        if engine.kind == "pytorch":
            return required_bytes(REFERENCE_PACKAGES)
        package = Path(voxmood.__file__).parent
        own = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
        return own + required_bytes(("voxmood[cpu,gpu,openvino]",))

    def _profile(self, precision: str) -> dict[str, Any]:
        self.progress(f"profile {precision}", 1)
        row = self.rows.read(f"profile-{precision}")
        if not row:
            plan = self.plan
            row = profile.report(
                str(plan.bundle), precision, seconds=plan.headline, threads=max(plan.threads)
            )
            self.rows.write(f"profile-{precision}", row)
        return row

    def _accuracy(self, models: Models, scratch: Path) -> list[dict[str, Any]]:
        logits: dict[str, np.ndarray[Any, Any]] = {}
        found: list[dict[str, Any]] = []
        for name, engine in self.engines.items():
            if not self._is_model(name):
                continue
            if name in self.failed:
                found.append({"engine": name, "error": self.failed[name]})
                continue
            try:
                logits[name] = self._logits(name, engine, models, scratch)
            except AudioError:
                raise
            except VoxmoodError as error:
                if name == REFERENCE:
                    raise
                found.append({"engine": name, "error": str(error)})
                continue
            close = accuracy.closeness(logits[REFERENCE], logits[name])
            found.append({"engine": name} | close)
            if self.plan.labelled:
                found[-1] |= accuracy.scores(
                    self.bundle.labels, self.plan.recordings, logits[name], logits[REFERENCE]
                )
        return found

    def _logits(
        self, name: str, engine: Engine, models: Models, scratch: Path
    ) -> np.ndarray[Any, Any]:
        recordings = self.plan.recordings
        row_name = f"logits-{name}"
        done: list[list[float]] = self.rows.read(row_name).get("logits", [])
        self.progress(f"label with {name}", len(done))
        if len(done) < len(recordings):
            with ExitStack() as stack:
                predictor: accuracy.Predictor
                if name == REFERENCE:
                    predictor = Reference(self.plan.reference, threads=models.threads)
                elif engine.model == "bundle":
                    predictor = voxmood.load(
                        self.plan.bundle, threads=models.threads, **engine.options
                    )
                else:
                    worker = stack.enter_context(models.load(name, engine)[0])
                    rate = self.bundle.sampling_rate
                    predictor = accuracy.Peer(worker, scratch, self.bundle.labels, rate)
                for recording in recordings[len(done) :]:
                    done.append(predictor.predict(recording.path).logits.tolist())
                    self.progress(f"label with {name}", 1)
                    if len(done) % KEEP_EVERY == 0 or len(done) == len(recordings):
                        self.rows.write(row_name, {"logits": done})
        return np.array(done)

    def _report(
        self,
        cells: list[dict[str, Any]],
        starts: list[dict[str, Any]],
        closeness: list[dict[str, Any]],
        profiles: list[dict[str, Any]],
    ) -> dict[str, Any]:
        plan, main = self.plan, main_engine(self.bundle)
        return {
            "version": VERSION,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "voxmood": voxmood.__version__,
            "bundle": self.bundle.name,
            "labels": list(self.bundle.labels),
            "reference": {
                "engine": REFERENCE,
                "checkpoint": Path(plan.reference).name,
                "revision": self._revision,
            },
            "main": main,
            "headline": {"seconds": plan.headline, "threads": max(plan.threads)},
            "protocol": speed.PROTOCOL,
            "audio": {
                "dataset": plan.dataset,
                "recordings": len(plan.recordings),
                "speakers": len({entry.speaker for entry in plan.recordings} - {"", None}),
                "labels": {
                    label: sum(entry.label == label for entry in plan.recordings)
                    for label in self.bundle.labels
                    if plan.labelled
                },
                "left_out": dict(plan.left_out),
            },
            "engines": {
                name: {
                    "peer": name in PEERS | ON_CUDA,
                    "versions": cells[0]["versions"].get(name, {}),
                    "error": cells[0]["errors"].get(name),
                }
                for name in self.engines
            },
            "speed": [_speed_figures(cell, main) for cell in cells],
            "start": starts,
            "accuracy": closeness,
            "profile": profiles,
        }


def _speed_figures(cell: dict[str, Any], main: str) -> dict[str, Any]:
    """What a cell of speed says: latencies, ratios to the reference and to the main engine."""
    rounds, errors = cell["rounds"], cell["errors"]
    copy = f"{main} {AGAIN}"
    names = [name for name in cell["first_ms"] if name not in errors]
    noise = speed.noise(rounds, main, copy) if {main, copy} <= set(names) else None
    engines = {}
    for name in names:
        facts: dict[str, Any] = {"first_ms": cell["first_ms"][name]}
        facts |= speed.statistics(rounds, name)
        facts["real_time_factor"] = facts["median_ms"] / 1000 / cell["seconds"]
        for key, ours, theirs in (
            ("of_reference", name, REFERENCE),
            ("main_of_it", main, name),
        ):
            if theirs == ours or ours not in names:
                continue
            value, low, high = speed.ratio(rounds, ours, theirs)
            facts[key] = {
                "ratio": value,
                "interval": [low, high],
                "in_noise": speed.within(value, low, high, noise or 0.0),
            }
        engines[name] = facts
    return {
        "seconds": cell["seconds"],
        "threads": cell["threads"],
        "rounds": len(rounds),
        "noise": noise,
        "others": float(np.median(cell["others"])),
        "disturbed": float(np.mean(np.array(cell["others"]) > speed.DISTURBED)),
        "engines": engines,
        "errors": errors,
    }
