"""`voxmood bench`: options, progress bar and tables. Imports what measures only when run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the sub-commands and their options."""
    commands = parser.add_subparsers(metavar="WHAT", required=True)

    engines = commands.add_parser("engines", help="latency beside other engines' on this machine")
    engines.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder or a hub id")
    engines.add_argument("bundle", metavar="BUNDLE", type=Path, help="exported from it")
    engines.add_argument(
        "--audio", type=Path, metavar="FILE", help="or a folder of them; default: generated"
    )
    engines.add_argument("--seconds", type=_seconds, default=5.0, help="default: %(default)g")
    engines.add_argument(
        "--threads", type=_count, default=2, metavar="N", help="default: %(default)s"
    )
    engines.add_argument(
        "--rounds", type=_count, default=10, metavar="N", help="default: %(default)s"
    )
    engines.add_argument(
        "--lengths", type=_lengths, default="5,30,60", help="of long passes; default: %(default)s"
    )
    engines.add_argument("--engines", metavar="NAME,...", help="some of them; default: all")
    engines.add_argument("--output", type=Path, metavar="FILE.json", help="also write the report")
    engines.add_argument(
        "--environments", type=Path, metavar="DIR", help="default: ~/.cache/voxmood/bench"
    )
    engines.add_argument("--json", action="store_true", help="print the report, not the tables")
    engines.set_defaults(bench=_engines)

    profile = commands.add_parser("profile", help="where the time of one run goes")
    profile.add_argument("model", metavar="BUNDLE[@PRECISION]")
    profile.add_argument("--seconds", type=_seconds, default=5.0, help="default: %(default)g")
    profile.add_argument("--threads", type=_count, metavar="N", help="default: all there are")
    profile.add_argument("--json", action="store_true", help="one JSON object")
    profile.set_defaults(bench=_profile)

    memory = commands.add_parser("memory", help="load time and memory, in fresh processes")
    memory.add_argument("model", nargs="?", metavar="BUNDLE[@PRECISION]")
    memory.add_argument("--seconds", type=_seconds, default=5.0, help="default: %(default)g")
    memory.add_argument("--threads", type=_count, metavar="N", help="default: all there are")
    memory.add_argument("--output", type=Path, metavar="FILE.json", help="also write the report")
    memory.set_defaults(bench=_memory)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("must be above 0 and at most 3600")
    return seconds


def _lengths(text: str) -> list[float]:
    return [_seconds(part) for part in text.split(",")] if text else []


def run(options: argparse.Namespace) -> int:
    """Runs a sub-command; returns the exit status."""
    chosen: Callable[[argparse.Namespace], int] = options.bench
    return chosen(options)


def _engines(options: argparse.Namespace) -> int:
    from voxmood import VoxmoodError
    from voxmood_bench.engines import ENGINES, compare, steps
    from voxmood_bench.environments import DEFAULT_FOLDER
    from voxmood_bench.tables import as_text

    lengths = [length for length in options.lengths if length != options.seconds]
    names = options.engines.split(",") if options.engines else list(ENGINES)
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise VoxmoodError(f"no engine {unknown[0]!r}; there are: {', '.join(ENGINES)}.")
    total = steps(names, options.rounds, lengths)
    with tqdm(total=total, bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def progress(step: str) -> None:
            bar.set_postfix_str(step)
            bar.update()

        report = compare(
            options.checkpoint,
            options.bundle,
            audio=options.audio,
            seconds=options.seconds,
            lengths=lengths,
            threads=options.threads,
            rounds=options.rounds,
            names=names,
            cache=(options.environments or DEFAULT_FOLDER).expanduser().resolve(),
            progress=progress,
        )
    text = json.dumps(report, indent=2)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else as_text(report))
    return 0


def _profile(options: argparse.Namespace) -> int:
    from voxmood.bundle import split_precision
    from voxmood_bench.profile import as_text, report

    folder, precision = split_precision(options.model)
    facts = report(folder, precision, seconds=options.seconds, threads=options.threads)
    print(json.dumps(facts) if options.json else as_text(facts))
    return 0


def _memory(options: argparse.Namespace) -> int:
    from voxmood.bundle import split_precision
    from voxmood_bench.machine import describe, machine
    from voxmood_bench.memory import as_text, measure

    folder, precision = split_precision(options.model)
    ways = measure(folder, precision, seconds=options.seconds, threads=options.threads)
    report = {"version": 1, "machine": machine(), "threads": options.threads, "ways": ways}
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(describe(machine()), as_text(ways), sep="\n")
    return 0
