"""Where the time of one run goes, by operator and by part of the network."""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from voxmood.audio import Waveform
from voxmood.bundle import DESCRIPTION, model_file, read_bundle
from voxmood.locate import locate
from voxmood.model import choose_precision
from voxmood.session import create_session, resolve_provider
from voxmood.threads import default_threads
from voxmood_bench.machine import describe, machine

PARTS = {
    "front end": re.compile(r"/front_end[./]"),
    "positional conv": re.compile(r"/positional/"),
    "attention": re.compile(r"/layers\.\d+/(attention|Add$)"),
    "feed-forward": re.compile(r"/layers\.\d+/"),
}
"""The first expression that begins a node's name says which part it is of; else it is the rest."""

REST = "rest"
SETTLING_RUNS = 2  # the first allocates, the second still grows the arena
BAR_WIDTH = 30


@dataclass(frozen=True)
class Node:
    """What one node of the optimised graph took.

    Attributes:
        name: begins with the module's name in the inference form, unless ONNX Runtime gave it.
        operator: of the optimised graph, so fused ones appear by their own names.
        part: of the network.
        milliseconds: mean over the runs.
        shape: of its first input.
    """

    name: str
    operator: str
    part: str
    milliseconds: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The nodes in the order they ran, and the time of a whole run in milliseconds."""

    nodes: list[Node]
    milliseconds: float

    def by(self, key: Callable[[Node], str]) -> dict[str, float]:
        """Milliseconds of the nodes of each key, largest first; adds up to all nodes' time."""
        sums: dict[str, float] = defaultdict(float)
        for node in self.nodes:
            sums[key(node)] += node.milliseconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def profile(
    folder: Path, precision: str, waveform: Waveform, *, threads: int | None = None, runs: int = 5
) -> Profile:
    """Runs a bundle's graph under ONNX Runtime's profiler, which adds microseconds to every node.

    Args:
        folder: of the bundle.
        precision: one that the bundle has.
        waveform: what is run, at the bundle's rate.
        threads: None takes what `voxmood.load` would.
        runs: to take the mean of.
    """
    with tempfile.TemporaryDirectory() as scratch:
        session = create_session(
            folder / model_file(precision),
            providers=resolve_provider("cpu"),
            threads=threads,
            config=read_bundle(folder).session_options,
            int8=precision == "int8",
            profile=Path(scratch) / "profile",
        )
        feeds = {"waveform": waveform[None], "lengths": np.array([len(waveform)], np.int64)}
        for _ in range(SETTLING_RUNS + runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return read_events(events, runs)


def read_events(events: Iterable[dict[str, Any]], runs: int) -> Profile:
    """Makes a profile of the last runs among the events that ONNX Runtime writes."""
    events = sorted(events, key=lambda event: event["ts"])
    whole = [event for event in events if event["name"] == "model_run"][-runs:]
    begin = whole[0]["ts"]
    totals: dict[str, float] = defaultdict(float)
    seen: dict[str, tuple[str, str, tuple[int, ...]]] = {}
    part = REST
    for event in events:
        if event["cat"] != "Node" or event["ts"] < begin:
            continue
        name = event["name"].removesuffix("_kernel_time")
        # A name without a slash was made up by a tool, for a node that a neighbour was split off
        # or fused into: it belongs to the part that ran just before it.
        part = part_of(name) if name.startswith("/") else part
        shapes = event["args"].get("input_type_shape") or [{"": []}]
        seen.setdefault(
            name, (event["args"]["op_name"], part, tuple(next(iter(shapes[0].values()))))
        )
        totals[name] += event["dur"] / 1000 / runs
    nodes = [
        Node(name, operator, part, totals[name], shape)
        for name, (operator, part, shape) in seen.items()
    ]
    return Profile(nodes, sum(event["dur"] for event in whole) / 1000 / runs)


def part_of(name: str) -> str:
    """The part of the network that a node is of."""
    return next((part for part, pattern in PARTS.items() if pattern.match(name)), REST)


def report(
    source: str | None, precision: str = "auto", *, seconds: float, threads: int | None
) -> dict[str, Any]:
    """Profiles a bundle on generated speech; what `voxmood bench profile --json` prints."""
    from voxmood_export.clips import speech_like

    location = locate(source, precision)
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    precision = choose_precision(bundle, location.precision, "CPUExecutionProvider")
    location.fetch(bundle.precisions[precision].files)
    waveform = speech_like(seconds, bundle.sampling_rate, seed=0)
    result = profile(folder, precision, waveform, threads=threads)
    parts, operators = result.by(lambda node: node.part), result.by(lambda node: node.operator)
    between = result.milliseconds - sum(parts.values())
    return {
        "version": 1,
        "bundle": bundle.name,
        "precision": precision,
        "seconds": seconds,
        "threads": threads or default_threads(),
        "machine": machine(),
        "onnxruntime": onnxruntime.__version__,
        "milliseconds": round(result.milliseconds, 3),
        "between_nodes": round(between, 3),
        "parts": {name: round(parts.get(name, 0.0), 3) for name in (*PARTS, REST)},
        "operators": {name: round(value, 3) for name, value in operators.items()},
    }


def as_text(facts: dict[str, Any]) -> str:
    """The report as bars."""
    lines = [
        f"{facts['bundle']}@{facts['precision']}: {facts['milliseconds']:.1f} ms for "
        f"{facts['seconds']:g} s of audio, {facts['threads']} threads",
        describe(facts["machine"]),
    ]
    operators = dict(facts["operators"])
    small = {name: ms for name, ms in operators.items() if ms < 0.002 * facts["milliseconds"]}
    for name in small:
        del operators[name]
    operators[f"{len(small)} others"] = sum(small.values())
    parts = facts["parts"] | {"between nodes": facts["between_nodes"]}
    width = max(map(len, parts | operators))
    for title, rows in (("part", parts), ("operator", operators)):
        lines += ["", f"{title:<{width}}       ms"]
        for name, ms in rows.items():
            share = ms / facts["milliseconds"]
            bar = "█" * round(share * BAR_WIDTH)
            lines.append(f"{name:<{width}} {ms:>8.2f} {share:>6.1%} {bar}".rstrip())
    return "\n".join(lines)
