"""What figures say: ratios between engines, which of them have a limit, and the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from voxmood_bench.machine import describe
from voxmood_bench.rounds import Row, ratio

INT8, STOCK_INT8 = "voxmood int8", "stock ONNX Runtime int8"
REFERENCE = "PyTorch float32"
LIMITS = {
    (INT8, REFERENCE): 0.17,
    (INT8, "PyTorch bfloat16"): 0.45,
    (INT8, STOCK_INT8): 0.54,
    (INT8, "stock OpenVINO NNCF int8"): 0.88,
    (INT8, "int8 products alone"): 1.6,
    ("voxmood fp32", "stock ONNX Runtime fp32"): 1.0,
    ("voxmood fp32 in OpenVINO bfloat16", "stock OpenVINO bfloat16"): 0.75,
}
"""At most how much of another engine's time an engine is to take, on a CPU with AMX."""
LONG_LIMITS = {30.0: 2.0, 60.0: 3.0}
"""At most how many times longer a second of audio may take in passes of so many seconds."""
LONG_LIMIT_STOCK = 0.6
"""At most how much of the stock int8's time those passes may take."""


def measured(row: Row, reference: Row | None = None) -> dict[str, Any]:
    """A row as it stands in the report, with how far its logits are from a reference's."""
    facts = asdict(row) | {"milliseconds": [round(value, 3) for value in row.milliseconds]}
    if row.error is None:
        facts |= {"median_ms": round(row.median, 2), "iqr_ms": round(row.spread, 2)}
        facts["peak_mb"] = round(row.peak_mb or 0.0, 1)
    if reference and reference.logits and row.logits:
        difference = np.abs(np.subtract(row.logits, reference.logits)).max()
        facts["max_logit_difference"] = float(difference)
    return facts


def _comparison(ours: str, theirs: str, value: float, at_most: float | None) -> dict[str, Any]:
    met = None if at_most is None else value <= at_most
    return {
        "ours": ours,
        "theirs": theirs,
        "ratio": round(value, 4),
        "at_most": at_most,
        "met": met,
    }


def comparisons(rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Of voxmood's int8 with every engine, and whatever else has a limit."""
    pairs = dict.fromkeys([*((INT8, name) for name in rows if name != INT8), *LIMITS])
    return [
        _comparison(ours, theirs, ratio(rows[ours], rows[theirs]), LIMITS.get((ours, theirs)))
        for ours, theirs in pairs
        if all(name in rows and rows[name].error is None for name in (ours, theirs))
    ]


def long_comparisons(
    rows: Mapping[str, Row], long: Mapping[float, Mapping[str, Row]], seconds: float
) -> list[dict[str, Any]]:
    """Of a second of audio in long passes with one in short passes, and with the stock int8."""
    found = []
    for length, of_length in long.items():
        good = {name: row for name, row in of_length.items() if row.error is None}
        for name, row in good.items():
            longer = row.median / length / (rows[name].median / seconds)
            limit = LONG_LIMITS.get(length) if name == INT8 else None
            title = f"{name}, a second in a pass of"
            found.append(_comparison(f"{title} {length:g} s", f"of {seconds:g} s", longer, limit))
        if good.keys() >= {INT8, STOCK_INT8}:
            value = ratio(good[INT8], good[STOCK_INT8])
            found.append(_comparison(f"{INT8}, {length:g} s", STOCK_INT8, value, LONG_LIMIT_STOCK))
    return found


def as_text(report: Mapping[str, Any]) -> str:
    """The report as tables; limits are those that hold on a CPU with AMX."""
    ours = {entry["theirs"]: entry for entry in report["comparisons"] if entry["ours"] == INT8}
    width = max(map(len, report["engines"]))
    lines = [
        describe(report["machine"]),
        f"{report['seconds']:g} s of audio ({report['audio']}), {report['threads']} threads, "
        f"median of {report['rounds']} rounds; limits are for CPUs with AMX",
        "",
        f"{'engine':<{width}} {'ms':>8} {'IQR':>6} {'int8/it':>8} {'at most':>8} {'met':>4}"
        f" {'peak MB':>8} {'logits off':>11}",
    ]
    for name, facts in report["engines"].items():
        if facts["error"] is not None:
            lines.append(f"{name:<{width}} failed: {facts['error']}")
            continue
        difference = facts.get("max_logit_difference")
        lines.append(
            f"{name:<{width}} {facts['median_ms']:>8.1f} {facts['iqr_ms']:>6.1f}"
            f"{_cells(ours.get(name))} {facts['peak_mb']:>8.0f}"
            f" {'' if difference is None else f'{difference:.2g}':>11}".rstrip()
        )
    others = [entry for entry in report["comparisons"] if entry["ours"] != INT8]
    if others:
        titles = [f"{entry['ours']} / {entry['theirs']}" for entry in others]
        width = max(map(len, titles))
        lines += ["", f"{'other ratios':<{width}} {'':>8} {'at most':>8} {'met':>4}"]
        lines += [
            f"{title:<{width}}{_cells(entry)}".rstrip()
            for title, entry in zip(titles, others, strict=True)
        ]
    return "\n".join(lines)


def _cells(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return " " * 23
    limit = "" if entry["at_most"] is None else f"{entry['at_most']:.2f}"
    met = {None: "", True: "yes", False: "no"}[entry["met"]]
    return f" {entry['ratio']:>8.3f} {limit:>8} {met:>4}"
