"""Measure how close int8 is to float, by the recordings that it was tuned on.

    python benchmarks/scripts/tuning.py --corpora DIR [--seeds 0 1 2 3] --json FILE

For each full-size network with random weights, int8 is made without recordings, with 20, and with
a folder of them. Each is compared with the float network on 40 other recordings, half of them
German (DIR/emodb) and half English (DIR/cremad). A network and a way to tune take two minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tqdm import tqdm

from voxmood.audio import Waveform
from voxmood.audio.listing import find_recordings
from voxmood.comparison.metrics import sqnr
from voxmood.engine.session import create_session, resolve_provider
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.typed_json import to_json
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import Clips, recorded_clips, synthetic_clips
from voxmood_export.export import describe
from voxmood_export.int8.quantizer import Quantizer
from voxmood_export.testing import BASE, LARGE, add_outliers, make_checkpoint
from voxmood_export.verify import reference_logits

RATE = 16_000
HEARD = 20  # recordings of each corpus to compare on
FEW = 20
NETWORKS = {
    "wav2vec2-large": (LARGE, "Wav2Vec2ForSequenceClassification"),
    "hubert-base": (BASE, "HubertForSequenceClassification"),
}


@dataclass(frozen=True)
class Row:
    """State how close one int8 network is.

    Attributes:
        network: the architecture.
        seed: the seed of its weights.
        loud: whether six channels of every norm are louder.
        tuned_on: what int8 was tuned on.
        seconds: the time that making int8 took.
        emodb: SQNR of the centered logits on recordings of EmoDB, in dB.
        cremad: likewise, of CREMA-D.
        both: likewise, of both together.
    """

    network: str
    seed: int
    loud: bool
    tuned_on: str
    seconds: float
    emodb: float
    cremad: float
    both: float


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--corpora", type=Path, required=True, metavar="DIR", help="Has emodb and cremad.")
    add("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3], metavar="N")
    add("--ways", nargs="+", default=["none", "few", "folder"])
    add("--loud", action="store_true", help="Make six channels of every norm 30 times louder.")
    add("--json", type=Path, required=True, metavar="FILE", help="Add the figures to this file.")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            for seed in options.seeds:
                found = measure(network, seed, options, Path(folder))
                for row in tqdm(found, f"{network} {seed}", len(options.ways)):
                    rows.append(to_json(row))
                    tqdm.write(json.dumps(rows[-1]))
                    content = {
                        "date": datetime.now(UTC).date().isoformat(),
                        "machine": to_json(machine()),
                        "onnxruntime": onnxruntime.__version__,
                        "rows": rows,
                    }
                    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure(network: str, seed: int, options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Yield the rows of one network."""
    settings, architecture = NETWORKS[network]
    corpora = options.corpora
    heard = [recorded_clips(corpora / name, RATE, HEARD).waveforms for name in ("emodb", "cremad")]
    path = folder / "checkpoint"
    make_checkpoint(path, settings, architecture=architecture, seed=seed, waveforms=heard[0])
    checkpoint = load_checkpoint(str(path))
    if options.loud:
        add_outliers(checkpoint.model)
    expected = np.stack([*reference_logits(checkpoint, heard[0] + heard[1])])
    for way in options.ways:
        clips = tuning_clips(way, corpora / "emodb", folder / "few")
        begun = time.perf_counter()
        graph = folder / "model.int8.onnx"
        Quantizer(checkpoint, clips.calibration).write(graph, describe(checkpoint))
        seconds = time.perf_counter() - begun
        gc.collect()
        found = logits(graph, heard[0] + heard[1])
        halves = slice(0, HEARD), slice(HEARD, None), slice(None)
        yield Row(
            network,
            seed,
            options.loud,
            clips.tuned_on,
            round(seconds, 1),
            *(round(sqnr(expected[half], found[half]), 2) for half in halves),
        )


def tuning_clips(way: str, corpus: Path, folder: Path) -> Clips:
    """Return what to tune on: no recordings, a few of a corpus, or all of it."""
    if way == "none":
        return synthetic_clips(RATE)
    if way == "folder":
        return recorded_clips(corpus, RATE, HEARD)  # compares on the same recordings as above
    paths = [recording.path for recording in find_recordings(corpus)]
    folder.mkdir(exist_ok=True)
    for path in paths[10 :: len(paths) // FEW][:FEW]:
        shutil.copy(path, folder)
    return recorded_clips(folder, RATE, HEARD)


def logits(path: Path, waveforms: list[Waveform]) -> np.ndarray[Any, Any]:
    """Return an int8 graph's logits, [clips, labels]."""
    session = create_session(
        path, providers=resolve_provider("cpu"), threads=None, config={}, int8=True
    )
    feeds = [{"waveform": x[None], "lengths": np.array([len(x)])} for x in waveforms]
    return np.stack([session.run(["logits"], feed)[0][0] for feed in feeds])


if __name__ == "__main__":
    main()
