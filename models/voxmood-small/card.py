#!/usr/bin/env python3
"""Write README.md, the card of voxmood-small, from card.md and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = {"emodb": "EmoDB (German)", "cremad": "CREMA-D (English)"}
CHANNELS = {
    "recorded": "as recorded",
    "telephone": "telephone (300 to 3,400 Hz, G.711 mu-law)",
    "opus": "Opus, about 6 kbit/s",
    "noisy": "white noise 10 dB below the speech",
}
GROUPS = {
    "Female": "women",
    "Male": "men",
    "LO": "low intensity",
    "MD": "medium intensity",
    "HI": "high intensity",
    "XX": "intensity not stated",
}


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def two(value: float) -> str:
    """Return a share as two digits after the point."""
    return f"{value:.2f}"


def overall(scores: dict[str, Any]) -> str:
    """Return UAR and accuracy of each corpus, the worse one first."""
    rows = []
    for corpus, found in sorted(scores.items(), key=lambda item: item[1]["uar"]):
        low, high = found["interval_95_by_speaker"]
        rows.append(
            [
                NAMES[corpus],
                found["clips"],
                f"**{two(found['uar'])}**",
                f"{two(low)} to {two(high)}",
                two(found["accuracy"]),
            ]
        )
    return table(["corpus", "clips", "UAR", "95 %, speakers resampled", "accuracy"], rows)


def confusions(scores: dict[str, Any], labels: list[str]) -> str:
    """Return a confusion matrix for each corpus."""
    parts = []
    for corpus, found in scores.items():
        rows = [
            [f"**{label}**", *counts, two(recall)]
            for label, counts, recall in zip(
                labels, found["confusion"], found["recalls"], strict=True
            )
        ]
        title = f"{NAMES[corpus]}; rows are what was acted, columns what was answered:"
        parts.append(title + "\n\n" + table(["", *labels, "recall"], rows))
    return "\n\n".join(parts)


def recalls(scores: dict[str, Any], labels: list[str]) -> str:
    """Return the recall of each class of each corpus, the worst first."""
    rows = sorted(
        (recall, NAMES[corpus], label)
        for corpus, found in scores.items()
        for label, recall in zip(labels, found["recalls"], strict=True)
    )
    return table(
        ["corpus", "class", "recall"], [[name, label, two(value)] for value, name, label in rows]
    )


def channels(scores: dict[str, Any]) -> str:
    """Return UAR by channel, the worst first."""
    rows = sorted(
        (found["uar"], NAMES[corpus], CHANNELS[channel])
        for corpus, result in scores.items()
        for channel, found in result["channels"].items()
    )
    return table(
        ["corpus", "channel", "UAR"], [[name, channel, two(value)] for value, name, channel in rows]
    )


def groups(scores: dict[str, Any]) -> str:
    """Return UAR by sex and intensity, the worst first."""
    rows = sorted(
        (found["uar"], NAMES[corpus], GROUPS.get(group, group), found["clips"])
        for corpus, result in scores.items()
        for group, found in result["groups"].items()
        if group in GROUPS
    )
    return table(
        ["corpus", "group", "clips", "UAR"],
        [[name, group, count, two(value)] for value, name, group, count in rows],
    )


def lowest(confusion: list[list[int]]) -> float:
    """Return the lowest recall of a class."""
    return min(row[place] / sum(row) for place, row in enumerate(confusion))


def beside(scores: dict[str, Any], before: dict[str, Any]) -> str:
    """Return UAR and the lowest recall of each corpus, beside those of the model before."""
    rows = []
    for corpus, found in scores.items():
        old = before[corpus]
        rows.append(
            [
                NAMES[corpus],
                two(found["uar"]),
                two(lowest(found["confusion"])),
                two(old["uar"]),
                two(lowest(old["confusion"])),
            ]
        )
    return table(["corpus left out", "UAR", "lowest recall", "UAR before", "lowest before"], rows)


def card(report: dict[str, Any], before: dict[str, Any]) -> str:
    """Return the card, from evaluation.json and baseline.json."""
    out, folds, labels = report["left_out"], report["folds"], report["labels"]
    return (
        (HERE / "card.md")
        .read_text()
        .format(
            emodb=two(out["emodb"]["uar"]),
            cremad=two(out["cremad"]["uar"]),
            emodb_in=two(folds["emodb"]["uar"]),
            cremad_in=two(folds["cremad"]["uar"]),
            left_out=overall(out),
            beside=beside(out, before["left_out"]),
            same_label=f"{report['int8']['same_label']:.2%}",
            sqnr=round(report["int8"]["sqnr_db"]),
            confusions_out=confusions(out, labels),
            recalls_out=recalls(out, labels),
            channels_out=channels(out),
            folds=overall(folds),
            confusions_in=confusions(folds, labels),
            groups=groups(folds),
            channels_in=channels(folds),
            temperature=report["temperature"],
            ece=two(report["calibration_error"]),
            ece_emodb=two(folds["emodb"]["calibration_error"]),
            ece_cremad=two(folds["cremad"]["calibration_error"]),
            ece_out_emodb=two(out["emodb"]["calibration_error"]),
            ece_out_cremad=two(out["cremad"]["calibration_error"]),
        )
    )


def main() -> None:
    """Run the command line."""
    report, before = (
        json.loads((HERE / f"{name}.json").read_text()) for name in ("evaluation", "baseline")
    )
    (HERE / "README.md").write_text(card(report, before))


if __name__ == "__main__":
    main()
