"""Prints the table of estimates of README.md. Needs voxmood[export,cpu].

    python runtime/examples/raspberry-pi/estimate.py

Multiply-accumulates are counted by PyTorch, which runs the networks without weights. What a run
took on another machine is split in two: its products, at the share of the peak that the full-size
float network reached there, and the rest (norms, softmax, GELU, quantising). On a board products
reach the same share of its peak, and the rest takes longer as its float peak is lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from voxmood_bench.tables import markdown
from voxmood_export.testing import LARGE

SHIPPED = Path(__file__).parents[3] / "models" / "voxmood-tiny"
SECONDS = 5
RATE = 16000

# Clock in GHz, then multiply-accumulates a cycle and core in float32 and in int8, of the throughput
# that Arm's software optimisation guides give for FMLA, UMULL with UADALP, and UDOT. For the A53,
# which has none, that of a core with one 128-bit multiplier, as LLVM's model of it has.
BOARDS = {
    "Zero 2 W": ("A53", 1.0, 4, 4),
    "3 B+": ("A53", 1.4, 4, 4),
    "4": ("A72", 1.8, 4, 8),
    "5": ("A76", 2.4, 8, 32),
}
CORES_GAIN = 3  # of four cores over one

# One thread of an Ice Lake Xeon, 2.8 GHz, 32 and 128 multiply-accumulates a cycle: seconds for 5 s.
MEASURED = {
    ("shipped", "fp32"): 0.0160,
    ("shipped", "int8"): 0.0131,
    ("full size", "fp32"): 1.626,
    ("full size", "int8"): 0.629,
}
PEAK = {"fp32": 32 * 2.8e9, "int8": 128 * 2.8e9}


def main() -> None:
    """Counts, estimates and prints."""
    configurations = {
        "shipped": Wav2Vec2Config.from_pretrained(SHIPPED),
        "full size": Wav2Vec2Config(**LARGE),
    }
    counts = {name: count(configuration) for name, configuration in configurations.items()}
    for name, macs in counts.items():
        print(f"{name}: {macs / SECONDS / 1e9:.3g} billion a second of audio")
    print(table(counts))


def count(configuration: Wav2Vec2Config) -> float:
    """Multiply-accumulates of a network for `SECONDS` of audio."""
    configuration._attn_implementation = "eager"  # whose products are counted
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        Wav2Vec2ForSequenceClassification(configuration).eval()(torch.zeros(1, SECONDS * RATE))
    return float(counter.get_total_flops() / 2)


def table(counts: Mapping[str, float]) -> str:
    """Real-time factors of every board."""
    reached = counts["full size"] / PEAK["fp32"] / MEASURED["full size", "fp32"]
    rows: list[list[Any]] = []
    for board, (core, clock, fp32, int8) in BOARDS.items():
        peaks = {"fp32": fp32 * clock * 1e9 * CORES_GAIN, "int8": int8 * clock * 1e9 * CORES_GAIN}
        row = [board, f"4 {core}, {clock} GHz"]
        for (model, precision), measured in MEASURED.items():
            macs = counts[model]
            rest = measured - macs / PEAK[precision] / reached
            time = macs / peaks[precision] / reached + rest * PEAK["fp32"] / peaks["fp32"]
            row.append(f"{time / SECONDS:.2g}")
        rows.append(row)
    return markdown(["Raspberry Pi", "cores", *(" ".join(key) for key in MEASURED)], rows)


if __name__ == "__main__":
    main()
