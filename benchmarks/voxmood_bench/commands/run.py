"""`voxmood bench run`: measures a bundle against its reference and writes the report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from voxmood import ProviderError
from voxmood.audio.listing import Recording, find_recordings
from voxmood.bundle.description import DESCRIPTION, read_bundle
from voxmood.bundle.locate import locate
from voxmood.commands.terminal.console import complain
from voxmood.commands.terminal.progress import Steps
from voxmood.engine.providers import PROVIDERS
from voxmood.files import check_output, write_whole
from voxmood_bench.engines.environments import DEFAULT_FOLDER
from voxmood_bench.engines.lineup import BASELINES
from voxmood_bench.errors import BenchmarkError, DatasetError
from voxmood_bench.measure.datasets import DATASETS, fit_labels, generated
from voxmood_bench.measure.plan import Plan
from voxmood_bench.measure.suite import Suite
from voxmood_bench.report.files import write_report
from voxmood_bench.report.html import as_html
from voxmood_bench.report.tables import as_markdown
from voxmood_export.clips import evenly


def run(options: argparse.Namespace) -> int:
    """Measure what the options ask for, print and write the report; return the exit status."""
    _check_system()
    _check_outputs(options)
    with Steps() as progress:
        suite = Suite(_plan(options), options.output, progress.begin)
        progress.expect(suite.steps)
        try:
            report = suite.run()
        except KeyboardInterrupt:
            complain("stopped; the same command goes on from here.")
            raise
    files = [options.output / f"report.{suffix}" for suffix in ("json", "md", "html")]
    text = as_markdown(report)
    write_report(files[0], report)
    write_whole(files[1], text)
    write_whole(files[2], as_html(report))
    print(text)
    print(f"Written: {', '.join(map(str, files))}")
    return 0


def _check_system() -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        raise BenchmarkError(
            "bench run reads memory and processor time from /proc, which only Linux has."
        )


def _check_outputs(options: argparse.Namespace) -> None:
    """Check that nothing is written into the bundle or its reference."""
    places = (Path(options.bundle), Path(options.reference))
    inputs = [place for place in places if place.is_dir()]
    for folder in (options.output, options.environments):
        if folder is not None:
            check_output(folder / "report.json", inputs, inside=True)


def _plan(options: argparse.Namespace) -> Plan:
    location = locate(options.bundle)
    if location.precision != "auto":
        raise BenchmarkError(
            f"{options.bundle}: every precision is measured; leave out @{location.precision}."
        )
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    for precision in bundle.precisions.values():
        location.fetch(precision.files)
    if options.dataset and bundle.task != "classification":
        raise DatasetError(
            f"--dataset has one true label for each recording, but {options.bundle} does "
            f"{bundle.task}; use --audio."
        )
    dataset, recordings = _recordings(options, bundle.sampling_rate)
    left_out: dict[str, int] = {}
    if options.dataset:
        recordings, left_out = fit_labels(recordings, bundle.labels, options.map_labels)
    picked = evenly(recordings, options.clips or len(recordings))
    used = {recording.path for recording in picked}
    return Plan(
        bundle=folder,
        reference=options.reference,
        recordings=picked,
        dataset=dataset,
        left_out=left_out,
        providers=_providers(options.providers),
        baselines=_baselines(options.peers),
        lengths=options.lengths,
        threads=options.threads,
        rounds=options.rounds,
        most_rounds=max(options.rounds, options.most_rounds),
        starts=options.starts,
        cache=(options.environments or DEFAULT_FOLDER).expanduser().resolve(),
        others=[recording for recording in recordings if recording.path not in used],
    )


def _recordings(options: argparse.Namespace, rate: int) -> tuple[str, Sequence[Recording]]:
    """Return what the report calls the recordings, and the recordings."""
    if options.dataset:
        if options.audio or not options.root:
            raise DatasetError("--dataset needs --root, and cannot be used with --audio.")
        name = options.root.resolve()
        title = name.parent.name if name.is_file() else name.name
        return f"{options.dataset} ({title})", DATASETS[options.dataset](options.root)
    if options.root or options.map_labels:
        raise DatasetError("--root and --map-labels belong to --dataset, which is not given.")
    if options.audio:
        return options.audio.resolve().name, find_recordings(options.audio)
    return "generated speech-like signals", generated(options.output / "generated", rate)


def _providers(names: str | None) -> list[str]:
    if names is None:
        there = onnxruntime.get_available_providers()
        return [name for name, (long, _) in PROVIDERS.items() if long in there]
    unknown = [name for name in names.split(",") if name not in PROVIDERS]
    if unknown:
        raise ProviderError(f"no provider {unknown[0]!r}; there are {', '.join(PROVIDERS)}.")
    return names.split(",")


def _baselines(names: str) -> list[str]:
    if names == "all":
        return list(BASELINES)
    chosen = names.split(",") if names else []
    unknown = [name for name in chosen if name not in BASELINES]
    if unknown:
        raise BenchmarkError(f"no engine {unknown[0]!r}; there are: {', '.join(BASELINES)}.")
    return chosen
