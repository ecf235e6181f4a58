"""Measures what the int8 recipe gains and costs, against plain int8 of the same checkpoint.

    python benchmarks/scripts/recipe.py bundle --reference checkpoint --audio DIR --json FILE

Plain int8 is the same graph, with weights and activations rounded to the nearest, one range for
each tensor, and the bias corrected on the same clips. Both are compared with the checkpoint in
float, on recordings that neither was tuned on, and timed in one process, taking turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch

from voxmood.audio import Waveform
from voxmood.bundle.description import model_file, read_bundle
from voxmood.comparison.metrics import sqnr
from voxmood.engine.session import create_session, resolve_provider
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.typed_json import to_json
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import recorded_clips
from voxmood_export.graph import export_graph
from voxmood_export.int8.bias_correction import correct_bias, output_shift
from voxmood_export.int8.graph_pass import quantize
from voxmood_export.int8.recipe import Activations, Recipe, choose_recipe
from voxmood_export.network.inference_form import InferenceForm

SECONDS = 5  # of the audio that is timed


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="Bundle with int8.")
    parser.add_argument("--reference", required=True, metavar="CHECKPOINT", help="Its checkpoint.")
    parser.add_argument(
        "--audio", type=Path, required=True, metavar="DIR", help="Folder of recordings."
    )
    parser.add_argument(
        "--clips", type=int, default=12, help="Number of them (default: %(default)s)."
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="Threads of each (default: %(default)s)."
    )
    parser.add_argument(
        "--rounds", type=int, default=30, help="Rounds of runs (default: %(default)s)."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Also write the figures.")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    checkpoint = load_checkpoint(options.reference)
    clips = recorded_clips(options.audio, bundle.sampling_rate, options.clips)
    form = InferenceForm(
        checkpoint.model, do_normalize=checkpoint.extractor.do_normalize, batched=False
    )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        write_plain(form, clips.calibration, plain)
        sessions = {
            name: create_session(
                path,
                providers=resolve_provider("cpu"),
                threads=options.threads,
                config=bundle.session_options,
                int8=True,
            )
            for name, path in (("plain", plain), ("recipe", options.bundle / model_file("int8")))
        }
        with torch.inference_mode():
            expected = np.stack(
                [form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0][0].numpy()
                 for clip in clips.waveforms]
            )  # fmt: skip
        decibels = {
            name: sqnr(expected, np.stack([logits(session, clip) for clip in clips.waveforms]))
            for name, session in sessions.items()
        }
        timed = np.resize(np.concatenate(clips.waveforms), SECONDS * bundle.sampling_rate)
        times = take_turns(sessions, timed, options.rounds)
    measured = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": to_json(machine()),
        "onnxruntime": onnxruntime.__version__,
        "bundle": bundle.name,
        "clips": len(clips.waveforms),
        "threads": options.threads,
        "seconds": SECONDS,
        "sqnr_db": {name: round(value, 2) for name, value in decibels.items()},
        "median_ms": {name: round(1000 * float(np.median(t)), 1) for name, t in times.items()},
        "time_of_plain": round(float(np.median(times["recipe"] / times["plain"])), 3),
    }
    text = json.dumps(measured, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


def write_plain(form: InferenceForm, calibration: list[Waveform], path: Path) -> None:
    """Write plain int8 of the form for single clips."""
    graph = export_graph(form)
    plain = dict.fromkeys(choose_recipe(form).activations, Activations.PER_TENSOR)
    quantize(graph, Recipe(plain, gelu_step=False), {})
    weights = f"{path.name}.data"
    onnx_ir.save(graph, path, external_data=weights)
    _, bias = form.corrected
    correct_bias(graph, bias, output_shift(path, form, calibration))
    onnx_ir.save(graph, path, external_data=weights)


def logits(session: onnxruntime.InferenceSession, waveform: Waveform) -> np.ndarray[Any, Any]:
    """Return the logits [labels] of a clip."""
    inputs = {"waveform": waveform[None], "lengths": np.array([len(waveform)])}
    found: np.ndarray[Any, Any] = session.run(["logits"], inputs)[0][0]
    return found


def take_turns(
    sessions: dict[str, onnxruntime.InferenceSession], waveform: Waveform, rounds: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the seconds of each session's runs, [rounds]; the order alternates."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 1):
        for name in list(sessions) if number % 2 else reversed(sessions):
            begun = time.perf_counter()
            logits(sessions[name], waveform)
            if number:  # the first warms up
                times[name].append(time.perf_counter() - begun)
    return {name: np.array(taken) for name, taken in times.items()}


if __name__ == "__main__":
    main()
