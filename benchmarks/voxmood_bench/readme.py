"""The tables of the README, from the JSON files in `benchmarks/results` and of the shipped bundle.

python -m voxmood_bench.readme     # rewrites them; a test fails when they disagree
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(header)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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
                f"{measured['max_logit_error']:.1g}",
                f"{measured['sqnr_db']:.1f} dB",
                f"{measured['label_agreement']:.0%}",
            ]
        )
    return table(["precision", "size", "largest logit error", "SQNR", "same label"], rows)


def engines(report: dict[str, Any]) -> str:
    """Latency beside other engines."""
    ours = {
        entry["theirs"]: entry for entry in report["comparisons"] if entry["ours"] == "voxmood int8"
    }
    rows = []
    for name, facts in report["engines"].items():
        if facts["error"] is not None:
            rows.append([name, f"failed: {facts['error']}", "", "", ""])
            continue
        ratio = f"{ours[name]['ratio']:.2f}" if name in ours else ""
        label = f"**{name}**" if name.startswith("voxmood") else name
        off = facts.get("max_logit_difference")
        off = "" if not off else f"{off:.1g}"
        rows.append(
            [label, f"{facts['median_ms']:.0f} ms", ratio, f"{facts['peak_mb']:.0f} MB", off]
        )
    header = ["engine", "median", "voxmood int8 takes of it", "peak memory", "logits off by"]
    return table(header, rows)


def memory(report: dict[str, Any]) -> str:
    """Load time and memory."""
    rows = [
        [
            f"`{way}`",
            f"{facts['load_s']:.2f} s",
            f"{facts['first_run_s']:.2f} s",
            f"{facts['private_mb']:.0f} MB",
            f"{facts['peak_resident_mb']:.0f} MB",
        ]
        for way, facts in report["ways"].items()
    ]
    return table(["", "load", "first run", "private memory", "peak resident"], rows)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def tables() -> dict[str, str]:
    """Every table of the README by its name."""
    shipped = ROOT / "models" / "voxmood-tiny" / "bundle" / "bundle.json"
    return {
        "large": precisions(_read(RESULTS / "export-wav2vec2-large-random.json")),
        "shipped": precisions(_read(shipped)),
        "engines": engines(_read(RESULTS / "engines-zen4.json")),
        "memory": memory(_read(RESULTS / "memory-zen4.json")),
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
