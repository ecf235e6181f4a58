"""The tables of the README, from the JSON files in `benchmarks/results` and of the shipped bundle.

python -m voxmood_bench.readme     # rewrites them; a test fails when they disagree
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from voxmood_bench.engines import AGAIN
from voxmood_bench.tables import Report, decibels, headline, markdown, milliseconds, ratio, start

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"


def precisions(description: dict[str, Any]) -> str:
    """What a bundle measured of each precision when it was made."""
    rows = []
    for name, entry in description["precisions"].items():
        size = sum(file["bytes"] for file in entry["files"].values()) / 1e6
        measured = entry["measured"]
        rows.append(
            [
                name,
                f"{size:.1f} MB" if size < 10 else f"{size:.0f} MB",
                f"{measured['real_time_factor']:.2g}",
                f"{measured['max_logit_error']:.1g}",
                f"{measured['max_probability_drift']:.1g}",
                f"{measured['sqnr_db']:.1f} dB",
                f"{measured['label_agreement']:.0%}",
            ]
        )
    drift = ["largest logit error", "largest drift of a probability", "SQNR", "same label"]
    return markdown(["precision", "size", "real-time factor", *drift], rows)


def engines(report: Report) -> str:
    """Latency beside other engines, what memory it takes, and how near the answers are."""
    cell = headline(report)
    main, reference = report["main"], report["reference"]["engine"]
    peaks = {row["engine"]: row for row in report["start"] if not row["way"]}
    close = {row["engine"]: row for row in report["accuracy"]}
    header = ["engine", "median", "p95", f"{main} takes of it", "peak memory", "SQNR"]
    rows = []
    for name in report["engines"]:
        if name.endswith(AGAIN):
            continue
        if name in cell["errors"]:
            rows.append([name, f"failed: {cell['errors'][name]}", *[""] * (len(header) - 2)])
            continue
        facts = cell["engines"][name]
        peak = peaks.get(name, {}).get("peak_resident_mb")
        row = close.get(name, {}) if name != reference else {}
        rows.append(
            [
                f"**{name}**" if name.startswith("voxmood") else name,
                f"{milliseconds(facts['median_ms'])} ms",
                f"{milliseconds(facts['p95_ms'])} ms",
                ratio(facts.get("main_of_it")),
                "" if peak is None else f"{peak:.0f} MB",
                decibels(row["sqnr_db"]) if "sqnr_db" in row else "",
            ]
        )
    return markdown(header, rows)


def memory(report: Report) -> str:
    """Start and memory of the main engine, by way to load it, and of the reference."""
    shown = (report["main"], report["reference"]["engine"])
    found = start(report)
    rows = [row for row in found.rows if row[0].split(",")[0] in shown]
    return markdown(found.header, rows)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def tables() -> dict[str, str]:
    """Every table of the README by its name."""
    large = _read(RESULTS / "large-random-icelake.json")
    tiny = _read(RESULTS / "voxmood-tiny-icelake.json")
    shipped = ROOT / "models" / "voxmood-tiny" / "bundle" / "bundle.json"
    return {
        "large": precisions(_read(RESULTS / "export-wav2vec2-large-random.json")),
        "shipped": precisions(_read(shipped)),
        "engines": engines(large),
        "memory": memory(large),
        "shipped-engines": engines(tiny),
    }


def filled(text: str) -> str:
    """The README with its tables as the results are."""
    for name, content in tables().items():
        begin = f"<!-- table: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        assert end, f"the README has no table {name}"
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
