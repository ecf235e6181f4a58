"""`voxmood bench`: options, progress bar and reports. Imports what measures only when run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from voxmood.commands.options import named, path, positive
from voxmood_bench import gate

if TYPE_CHECKING:
    from voxmood.audio.listing import Recording
    from voxmood_bench.suite import Plan

DEFAULT_ROUNDS, MOST_ROUNDS = 12, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the sub-commands and their options."""
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    run = commands.add_parser("run", help="a bundle against its reference: the whole report")
    _add_run(run)
    run.set_defaults(bench=_run)

    check = commands.add_parser("gate", help="does a report keep its bounds?")
    gate.add_arguments(check)
    check.set_defaults(bench=gate.run)

    profile = commands.add_parser("profile", help="where the time of one run goes")
    profile.add_argument("model", metavar="BUNDLE[@PRECISION]", type=named)
    profile.add_argument("--seconds", type=_seconds, default=5.0, help="default: %(default)g")
    profile.add_argument("--threads", type=positive, metavar="N", help="default: all there are")
    profile.add_argument("--json", action="store_true", help="one JSON object")
    profile.set_defaults(bench=_profile)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=named)
    parser.add_argument(
        "--reference",
        required=True,
        type=named,
        metavar="CHECKPOINT",
        help="its original: folder or hub id",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=path,
        metavar="DIR",
        help="gets report.html, .json and .md; an interrupted run goes on from what it holds",
    )
    audio = parser.add_argument_group("audio, by default generated")
    audio.add_argument("--audio", type=path, metavar="DIR", help="recordings without labels")
    audio.add_argument(
        "--dataset", choices=("manifest", "emodb", "iemocap"), help="labelled recordings in --root"
    )
    audio.add_argument("--root", type=path, metavar="DIR", help="or a manifest's CSV file")
    audio.add_argument(
        "--map-labels",
        type=_mapping,
        default={},
        metavar="FROM=TO,...",
        help="labels of the dataset to the model's; FROM= leaves recordings out",
    )
    audio.add_argument(
        "--clips", type=positive, metavar="N", help="label so many, evenly picked; default: all"
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--peers", default="", metavar="NAME,...", help="other engines, or `all`; default: none"
    )
    what.add_argument(
        "--providers", metavar="EP,...", help="default: those installed, of cpu, cuda, openvino"
    )
    what.add_argument("--lengths", type=_lengths, default="1,2,5,10,30", metavar="SECONDS,...")
    what.add_argument("--threads", type=_counts, default="1,2", metavar="N,...")
    what.add_argument(
        "--rounds",
        type=positive,
        default=DEFAULT_ROUNDS,
        metavar="N",
        help=f"at 5 s, up to {MOST_ROUNDS} until ratios are within 5 %%; default: %(default)s",
    )
    what.add_argument(
        "--starts", type=positive, default=3, metavar="N", help="of each engine; default: 3"
    )
    what.add_argument(
        "--environments", type=path, metavar="DIR", help="default: ~/.cache/voxmood/bench"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be above 0 and at most 3600")
    return seconds


def _lengths(text: str) -> list[float]:
    return sorted({_seconds(part) for part in text.split(",")})


def _counts(text: str) -> list[int]:
    return sorted({positive(part) for part in text.split(",")})


def _mapping(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and sign for name, sign, _ in pairs):
        raise argparse.ArgumentTypeError("must be like FROM=TO,FROM=TO")
    return {name: to for name, _, to in pairs}


def run(options: argparse.Namespace) -> int:
    """Runs a sub-command; returns the exit status."""
    chosen: Callable[[argparse.Namespace], int] = options.bench
    return chosen(options)


def _run(options: argparse.Namespace) -> int:
    from voxmood.files import write_whole
    from voxmood_bench.report_html import as_html
    from voxmood_bench.suite import Suite
    from voxmood_bench.tables import as_markdown

    _check_outputs(options)
    with tqdm(bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def progress(step: str, done: int) -> None:
            bar.set_postfix_str(step, refresh=False)
            bar.total = max(bar.total, bar.n + done)
            bar.update(done)

        suite = Suite(_plan(options), options.output, progress)
        bar.total = suite.steps
        try:
            report = suite.run()
        except KeyboardInterrupt:
            bar.write("Interrupted. The same command goes on from here.", file=sys.stderr)
            raise
    files = {
        "report.json": json.dumps(report, indent=1) + "\n",
        "report.md": as_markdown(report),
        "report.html": as_html(report),
    }
    for name, text in files.items():
        write_whole(options.output / name, text)
    print(files["report.md"])
    print(f"Written: {', '.join(str(options.output / name) for name in files)}")
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Check that nothing is written into the bundle or its reference."""
    from voxmood.files import check_output

    places = (Path(options.bundle), Path(options.reference))
    inputs = [place for place in places if place.is_dir()]
    for folder in (options.output, options.environments):
        if folder is not None:
            check_output(folder / "report.json", inputs, inside=True)


def _plan(options: argparse.Namespace) -> Plan:
    from voxmood.bundle.description import DESCRIPTION, read_bundle
    from voxmood.bundle.locate import locate
    from voxmood_bench.datasets import fit_labels
    from voxmood_bench.environments import DEFAULT_FOLDER
    from voxmood_bench.errors import BenchmarkError
    from voxmood_bench.suite import Plan

    location = locate(options.bundle)
    if location.precision != "auto":
        raise BenchmarkError(
            f"{options.bundle}: every precision is measured; leave out @{location.precision}."
        )
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    for precision in bundle.precisions.values():
        location.fetch(precision.files)
    dataset, recordings = _recordings(options, bundle.sampling_rate)
    left_out: dict[str, int] = {}
    if options.dataset:
        recordings, left_out = fit_labels(recordings, bundle.labels, options.map_labels)
    if options.clips and options.clips < len(recordings):
        recordings = [
            recordings[index * len(recordings) // options.clips] for index in range(options.clips)
        ]
    return Plan(
        bundle=folder,
        reference=options.reference,
        recordings=recordings,
        dataset=dataset,
        left_out=left_out,
        providers=_providers(options.providers),
        peers=_peers(options.peers),
        lengths=options.lengths,
        threads=options.threads,
        rounds=options.rounds,
        most_rounds=max(options.rounds, MOST_ROUNDS),
        starts=options.starts,
        cache=(options.environments or DEFAULT_FOLDER).expanduser().resolve(),
    )


def _recordings(options: argparse.Namespace, rate: int) -> tuple[str, Sequence[Recording]]:
    from voxmood.audio.listing import find_recordings
    from voxmood_bench.datasets import DATASETS, generated
    from voxmood_bench.errors import DatasetError

    if options.dataset:
        if options.audio or not options.root:
            raise DatasetError("--dataset needs --root, and no --audio.")
        name = options.root.resolve()
        title = name.parent.name if name.is_file() else name.name
        return f"{options.dataset} ({title})", DATASETS[options.dataset](options.root)
    if options.root or options.map_labels:
        raise DatasetError("--root and --map-labels belong to --dataset, which is not given.")
    if options.audio:
        return options.audio.resolve().name, find_recordings(options.audio)
    return "generated speech-like signals", generated(options.output / "generated", rate)


def _providers(names: str | None) -> list[str]:
    import onnxruntime

    from voxmood import ProviderError
    from voxmood.engine.providers import PROVIDERS

    if names is None:
        there = onnxruntime.get_available_providers()
        return [name for name, (long, _) in PROVIDERS.items() if long in there]
    unknown = [name for name in names.split(",") if name not in PROVIDERS]
    if unknown:
        raise ProviderError(f"no provider {unknown[0]!r}; there are {', '.join(PROVIDERS)}.")
    return names.split(",")


def _peers(names: str) -> list[str]:
    from voxmood_bench.engines import PEERS
    from voxmood_bench.errors import BenchmarkError

    if names == "all":
        return list(PEERS)
    chosen = names.split(",") if names else []
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        raise BenchmarkError(f"no peer {unknown[0]!r}; there are: {', '.join(PEERS)}.")
    return chosen


def _profile(options: argparse.Namespace) -> int:
    from voxmood_bench.profile import as_text, report

    facts = report(options.model, seconds=options.seconds, threads=options.threads)
    print(json.dumps(facts) if options.json else as_text(facts))
    return 0
