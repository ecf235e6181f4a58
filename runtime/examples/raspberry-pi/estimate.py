"""Print the estimates in the table of README.md. This needs voxmood[export,cpu].

    python runtime/examples/raspberry-pi/estimate.py

PyTorch counts the multiply-accumulates of the networks, without any weights. The time that was
measured on another machine is split in two parts. The first part is the matrix products, which run
at the share of the peak that the full-size float network reached there. The second part is the rest
(norms, softmax, GELU, quantization). On a board, products reach the same share of its peak, and the
rest takes longer in proportion to its float peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from voxmood_bench.report.tables import markdown
from voxmood_export.testing import LARGE

SHIPPED = Path(__file__).parents[3] / "models" / "voxmood-small"
SECONDS = 5
RATE = 16000


@dataclass(frozen=True)
class Board:
    """A Raspberry Pi with four cores.

    Attributes:
        core: name of the core.
        clock: clock rate in GHz.
        fp32: multiply-accumulates of float32 per cycle and core.
        int8: multiply-accumulates of int8 per cycle and core.
    """

    core: str
    clock: float
    fp32: int
    int8: int


# The throughputs of FMLA, UMULL with UADALP, and UDOT in Arm's software optimization guides. There
# is no guide for the A53; its values are those of a core with one 128-bit multiplier, as in LLVM.
BOARDS = {
    "Zero 2 W": Board("A53", 1.0, 4, 4),
    "3 B+": Board("A53", 1.4, 4, 4),
    "4": Board("A72", 1.8, 4, 8),
    "5": Board("A76", 2.4, 8, 32),
}
CORES_GAIN = 3  # how much faster four cores are than one

# Seconds for 5 s of audio, and multiply-accumulates per second, on one thread of an Ice Lake Xeon
# at 2.8 GHz. The shipped model, whose int8 computes in float, was measured on a Zen 5: it takes
# 2.27 times as long there as another model of its kind, which took 0.0160 s on the Xeon.
MEASURED = {
    ("shipped", "fp32"): 2.27 * 0.0160,
    ("full size", "fp32"): 1.626,
    ("full size", "int8"): 0.629,
}
PEAK = {"fp32": 32 * 2.8e9, "int8": 128 * 2.8e9}


def main() -> None:
    """Count the operations of both networks and print the table."""
    configurations = {
        "shipped": Wav2Vec2Config.from_pretrained(SHIPPED),
        "full size": Wav2Vec2Config(**LARGE),
    }
    counts = {name: count(configuration) for name, configuration in configurations.items()}
    for name, macs in counts.items():
        print(f"{name}: {macs / SECONDS / 1e9:.3g} billion a second of audio")
    print(table(counts))


def count(configuration: Wav2Vec2Config) -> float:
    """Return the multiply-accumulates of a network for `SECONDS` of audio."""
    configuration._attn_implementation = "eager"  # the counter sees the products of this form only
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        Wav2Vec2ForSequenceClassification(configuration).eval()(torch.zeros(1, SECONDS * RATE))
    return float(counter.get_total_flops() / 2)


def table(counts: Mapping[str, float]) -> str:
    """Return a table of the real-time factors of all boards."""
    reached = counts["full size"] / PEAK["fp32"] / MEASURED["full size", "fp32"]
    rows: list[list[Any]] = []
    for name, board in BOARDS.items():
        cycles = board.clock * 1e9 * CORES_GAIN
        peaks = {"fp32": board.fp32 * cycles, "int8": board.int8 * cycles}
        row = [name, f"4 {board.core}, {board.clock} GHz"]
        for (model, precision), measured in MEASURED.items():
            macs = counts[model]
            rest = measured - macs / PEAK[precision] / reached
            time = macs / peaks[precision] / reached + rest * PEAK["fp32"] / peaks["fp32"]
            row.append(f"{time / SECONDS:.2g}")
        rows.append(row)
    return markdown(["Raspberry Pi", "cores", *(" ".join(key) for key in MEASURED)], rows)


if __name__ == "__main__":
    main()
