"""`voxmood bench`: the options of its sub-commands, whose modules are imported only when run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

from voxmood.commands.options import add_bounds, add_report, finite, named, path, positive

DEFAULT_ROUNDS, MOST_ROUNDS = 12, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    run = commands.add_parser(
        "run",
        help="measure a bundle against its reference, write a report",
        epilog="Example: voxmood bench run bundle --reference checkpoint --output report",
    )
    _add_run(run)
    run.set_defaults(bench="run", most_rounds=MOST_ROUNDS)

    gate = commands.add_parser(
        "gate",
        help="check whether a report keeps its bounds",
        epilog="Example: voxmood bench gate report/report.json --max-time 0.9",
    )
    _add_gate(gate)
    gate.set_defaults(bench="gate")

    profile = commands.add_parser(
        "profile",
        help="show where the time of one run goes",
        epilog="Example: voxmood bench profile bundle@int8 --seconds 5",
    )
    profile.add_argument(
        "model", metavar="BUNDLE[@PRECISION]", type=named, help="Bundle to profile."
    )
    profile.add_argument(
        "--seconds",
        type=_seconds,
        default=5.0,
        help="Length of the audio in seconds (default: %(default)g).",
    )
    profile.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="Number of threads (default: all available).",
    )
    profile.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    profile.set_defaults(bench="profile")


# fmt: off
def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", type=named, help="Bundle to run in all its precisions.")
    add("--reference", required=True, type=named, metavar="CHECKPOINT",
        help="Checkpoint that the bundle was exported from: a folder, or OWNER/NAME on a hub.")
    add("--output", required=True, type=path, metavar="DIR",
        help="Folder to write report.html, report.json and report.md to. An interrupted run "
        "continues from what the folder holds.")
    add = parser.add_argument_group("audio (default: generated signals)").add_argument
    add("--audio", type=path, metavar="DIR", help="Folder of recordings without labels.")
    add("--dataset", choices=("manifest", "emodb", "iemocap"),
        help="Dataset of labeled recordings that --root holds.")
    add("--root", type=path, metavar="DIR",
        help="Folder of the dataset, or the CSV file of a manifest.")
    add("--map-labels", type=_mapping, default={}, metavar="FROM=TO,...",
        help="What labels of the dataset (FROM) are called by the model (TO), such as "
        "happiness=hap; FROM= leaves its recordings out.")
    add("--clips", type=positive, metavar="N",
        help="Number of recordings to label, picked at even distances (default: all). NNCF "
        "calibrates on up to 300 of the others, and on these if there are no others.")
    add = parser.add_argument_group("what is measured").add_argument
    add("--peers", default="", metavar="NAME,...",
        help="Other engines to measure as baselines, or all; a wrong name lists them "
        "(default: none).")
    add("--providers", metavar="EP,...",
        help="Execution providers (default: those of cpu, cuda and openvino that are installed).")
    add("--lengths", type=_lengths, default="1,2,5,10,30", metavar="SECONDS,...",
        help="Lengths of the audio to time, in seconds (default: %(default)s).")
    add("--threads", type=_counts, default="1,2", metavar="N,...",
        help="Numbers of threads to time with (default: %(default)s).")
    add("--rounds", type=positive, default=DEFAULT_ROUNDS, metavar="N",
        help=f"Least number of rounds at 5 s (default: %(default)s). More follow, up to "
        f"{MOST_ROUNDS}, until the ratios are known to 5 %%.")
    add("--starts", type=positive, default=3, metavar="N",
        help="Number of fresh processes of each engine (default: %(default)s).")
    add("--environments", type=path, metavar="DIR",
        help="Folder to keep other engines in (default: ~/.cache/voxmood/bench).")


def _add_gate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("new", metavar="NEW.json", type=path, help="Report of `bench run` to check.")
    add("--baseline", type=path, metavar="OLD.json", help="Earlier report to compare with.")
    add("--engine", metavar="NAME",
        help="Engine to check (default: the main precision of the bundle).")
    add("--max-time", type=finite, metavar="RATIO",
        help="Largest share of the reference's time that the engine may take.")
    add("--max-memory", type=finite, metavar="RATIO",
        help="Largest share of the reference's peak memory that the engine may take.")
    add("--max-accuracy-loss", type=finite, metavar="SHARE",
        help="Largest accuracy that the engine may lose against the reference.")
    add_bounds(parser, None)
    add("--max-growth", type=finite, default=1.1, metavar="RATIO",
        help="Largest growth of these ratios since --baseline (default: %(default)s).")
    add("--bounds", type=path, metavar="FILE.toml", help="File of more bounds on ratios of time.")
    add_report(parser)
# fmt: on


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
    """Run a sub-command; return the exit status."""
    module = import_module(f"voxmood_bench.commands.{options.bench}")
    command: Callable[[argparse.Namespace], int] = module.run
    return command(options)
