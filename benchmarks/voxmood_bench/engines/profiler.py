"""A bundle's graph under ONNX Runtime's profiler: what each node of it takes."""

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

from voxmood.audio import Waveform
from voxmood.bundle.description import model_file, read_bundle
from voxmood.engine.session import create_session, resolve_provider

PARTS = {
    "front end": re.compile(r"/(front_end|feature_encoder)[./]"),
    "positional conv": re.compile(r"/positional/"),
    "attention": re.compile(r"/layers\.\d+/(attention|Add$)"),
    "feed-forward": re.compile(r"/layers\.\d+/"),
}
"""The first of these expressions that matches the start of a node's name says which part it is of.

The names of the parts are keys of the report."""

REST = "rest"
SETTLING_RUNS = 2  # the first allocates, the second still grows the arena


@dataclass(frozen=True)
class Node:
    """What one node of the optimized graph takes.

    Attributes:
        name: begins with the name of a module of the network, unless ONNX Runtime made it up.
        operator: as the optimized graph has it, so fused operators have names of their own.
        part: of the network.
        milliseconds: the mean over the runs.
        shape: of the first input.
    """

    name: str
    operator: str
    part: str
    milliseconds: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The nodes in the order in which they ran, and the milliseconds of a whole run."""

    nodes: list[Node]
    milliseconds: float

    def by(self, key: Callable[[Node], str]) -> dict[str, float]:
        """Return the milliseconds of the nodes of each key, the largest first."""
        sums: dict[str, float] = defaultdict(float)
        for node in self.nodes:
            sums[key(node)] += node.milliseconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def profile(
    folder: Path, precision: str, waveform: Waveform, *, threads: int | None = None, runs: int = 5
) -> Profile:
    """Return what the nodes of a bundle take; the profiler adds microseconds to each of them.

    Args:
        folder: of the bundle.
        precision: one that the bundle has.
        waveform: float32 [samples], at the bundle's rate.
        threads: None takes as many as `voxmood.load` does.
        runs: how many the mean is taken of.
    """
    bundle = read_bundle(folder)
    with tempfile.TemporaryDirectory() as scratch:
        session = create_session(
            folder / model_file(precision),
            providers=resolve_provider("cpu"),
            threads=threads,
            config=bundle.session_options,
            int8=precision == "int8",
            seven_bits=bundle.precisions[precision].seven_bits,
            profile=Path(scratch) / "profile",
        )
        feeds = {"waveform": waveform[None], "lengths": np.array([len(waveform)], np.int64)}
        for _ in range(SETTLING_RUNS + runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return read_events(events, runs)


def read_events(events: Iterable[dict[str, Any]], runs: int) -> Profile:
    """Return a profile of the last runs among the events that ONNX Runtime writes."""
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
        # A name without a slash was made up by a tool, for a node that a neighbor was split off
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
    """Return the part of the network that a node belongs to, by its name."""
    return next((part for part, pattern in PARTS.items() if pattern.match(name)), REST)
