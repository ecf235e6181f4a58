"""Draw the picture of the README: a conversation of two people, each on a channel of its own.

    python runtime/examples/conversation/draw.py EMODB

EMODB is a folder of the recordings of EmoDB, which are CC0: acted sentences, which the model that
ships was trained on. The script puts some of them together, follows both channels, and draws what
`voxmood timeline call.wav --speech --channel each --plot call.svg` draws, in light and in dark.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

import voxmood
from voxmood.annotations.plot import draw_lanes
from voxmood.audio import read_waveform
from voxmood.files import write_whole

TURNS = (
    (1, "03a02Nc"), (2, "16a01Nc"), (1, "03a05Wa"), (2, "16a02Tc"), (1, "03b10Wb"),
    (2, "16b10Tb"), (1, "03a04Nc"), (2, "16a05Fc"), (1, "03b02Fc"),
)  # fmt: skip
"""Who speaks, by channel, and the recording of EmoDB that is heard."""

PAUSE_SECONDS = 0.7
RATE = 16000

INK, PAPER = {"light": "#1c2025", "dark": "#e4e8ec"}, {"light": "#ffffff", "dark": "#0d1117"}
"""Colors of text and background, which are those of GitHub's pages."""


def main() -> None:
    """Draw the picture beside this file, in each of its styles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("emodb", type=Path, metavar="EMODB", help="Folder of EmoDB's recordings.")
    samples = conversation(parser.parse_args().emodb)
    timeline = voxmood.load().timeline(samples, sampling_rate=RATE, speech=True, channel="each")
    segments = list(timeline)
    for style, ink in INK.items():
        settings: Any = dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color"), ink
        )
        settings |= {"axes.facecolor": PAPER[style], "savefig.facecolor": PAPER[style]}
        settings |= {"font.size": 17, "svg.hashsalt": style}
        with matplotlib.rc_context(settings):
            picture = io.BytesIO()
            figure = draw_lanes(segments, "call.wav")
            figure.savefig(picture, format="svg", metadata={"Date": None})
        write_whole(Path(__file__).with_name(f"{style}.svg"), picture.getvalue())


def conversation(folder: Path) -> npt.NDArray[np.float32]:
    """Return a recording of all turns, float32 [samples, 2]."""
    parts = list[npt.NDArray[np.float32]]()
    for channel, name in TURNS:
        (path,) = folder.rglob(f"{name}.*")
        turn = read_waveform(path, rate=RATE, max_seconds=30)
        part = np.zeros((len(turn) + round(PAUSE_SECONDS * RATE), 2), np.float32)
        part[: len(turn), channel - 1] = 0.5 * turn / np.abs(turn).max()
        parts.append(part)
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
