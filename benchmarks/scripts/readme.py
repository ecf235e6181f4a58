"""Rewrites the tables of the pages from `benchmarks/results` and the bundle that ships.

    python benchmarks/scripts/readme.py

A test fails when a page and the results disagree.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from voxmood_bench.report.files import read_report
from voxmood_bench.report.schema import AGAIN, BenchmarkReport
from voxmood_bench.report.tables import (
    decibels,
    failed_row,
    markdown,
    megabytes,
    milliseconds,
    ratio_text,
    startup_table,
)

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
GPU_SIZES = ((5, 1), (30, 1), (5, 8), (30, 8), (5, 32))  # seconds of each clip, clips


def precisions(description: Path) -> str:
    """Return what was measured of each precision of a bundle when it was made."""
    rows = []
    content = json.loads(description.read_text(encoding="utf-8"))
    for name, entry in content["precisions"].items():
        size = sum(file["bytes"] for file in entry["files"].values()) / 1e6
        measured = entry["measured"]
        rows.append(
            [
                name,
                megabytes(size),
                f"{measured['real_time_factor']:.2g}",
                f"{measured['max_logit_error']:.1g}",
                f"{measured['max_probability_drift']:.1g}",
                f"{measured['sqnr_db']:.1f} dB",
                f"{measured['label_agreement']:.0%}",
            ]
        )
    drift = ["largest logit error", "largest drift of a probability", "SQNR", "same label"]
    return markdown(["precision", "size", "real-time factor", *drift], rows)


def engines(report: BenchmarkReport) -> str:
    """Return the latency of each engine, the memory it takes, and how near its answers are."""
    cell, peaks = report.headline_cell, report.peaks
    header = ["engine", "median", "p95", f"{report.main} takes of it", "peak memory", "SQNR"]
    rows = []
    for name in report.engines:
        if name.endswith(AGAIN):
            continue
        if name in cell.errors:
            rows.append(failed_row(name, cell.errors[name], header))
            continue
        latency, has_sqnr = cell.engines[name], name != report.reference.engine
        rows.append(
            [
                f"**{name}**" if name.startswith("voxmood") else name,
                f"{milliseconds(latency.median_ms)} ms",
                f"{milliseconds(latency.p95_ms)} ms",
                ratio_text(latency.main_of_it),
                f"{peaks[name]:.0f} MB" if name in peaks else "",
                decibels(report.answers[name].sqnr_db)
                if has_sqnr and name in report.answers
                else "",
            ]
        )
    return markdown(header, rows)


def memory(report: BenchmarkReport) -> str:
    """Return start and memory of the main engine, by way to load it, and of the reference."""
    shown = (report.main, report.reference.engine)
    found = startup_table(report)
    rows = [row for row in found.rows if row[0].split(",")[0] in shown]
    return markdown(found.header, rows)


def gpu(path: Path) -> str:
    """Return the time of each engine on a GPU, by the size of the input, of PyTorch float16's."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = {(cell["seconds"], cell["clips"]): cell for cell in content["cells"]}
    shown = [cells[size] for size in GPU_SIZES]
    rows = []
    for name in cells[GPU_SIZES[0]]["median_ms"]:
        found = [
            f"{cell['median_ms'][name]:.1f} ms ({cell['of_reference'][name]['ratio']:.2f})"
            if name in cell["median_ms"]
            else "not measured"
            for cell in shown
        ]
        rows.append([f"**{name}**" if name.startswith("voxmood") else name, *found])
    sizes = [
        f"{seconds} s" if clips == 1 else f"{clips} x {seconds} s" for seconds, clips in GPU_SIZES
    ]
    return markdown(["engine", *sizes], rows)


def tables() -> dict[str, str]:
    """Return every table of the pages by its name."""
    large = read_report(RESULTS / "large-random-icelake.json")
    tiny = read_report(RESULTS / "voxmood-tiny-icelake.json")
    return {
        "large": precisions(RESULTS / "export-wav2vec2-large-random.json"),
        "shipped": precisions(ROOT / "models" / "voxmood-tiny" / "bundle" / "bundle.json"),
        "engines": engines(large),
        "memory": memory(large),
        "shipped-engines": engines(tiny),
        "gpu": gpu(RESULTS / "gpu-large-random-h200.json"),
    }


def filled(text: str) -> str:
    """Return the text of a page with the tables that the results give."""
    contents = tables()
    for name in re.findall("<!-- table: (.+) -->\n", text):
        begin = f"<!-- table: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{begin}{contents[name]}\n{end}{after}"
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
