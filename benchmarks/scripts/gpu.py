"""Measures a bundle on an NVIDIA GPU, beside its checkpoint in PyTorch on the same GPU.

    python benchmarks/scripts/gpu.py bundle --reference checkpoint --json FILE

`gpu.sh` makes both and runs this. All engines are in one process and take turns. A run begins with
waveforms in the memory of the host and ends with logits there. PyTorch is given waveforms that are
already normalized, and no attention mask, which is the fastest that it can be asked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import transformers
from transformers import AutoModelForAudioClassification

import voxmood
from voxmood.audio import Waveform
from voxmood.bundle.description import model_file, read_bundle
from voxmood.bundle.locate import shipped_bundle
from voxmood.comparison.metrics import agreement, sqnr
from voxmood.engine.cuda_graphs import CudaGraphs
from voxmood.engine.session import create_session, nodes_by_provider, resolve_provider
from voxmood_bench.measure.latency import Round, ratio
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.schema import Machine, Ratio
from voxmood_bench.report.typed_json import to_json
from voxmood_export.clips import generated_clips, speech_like

T = TypeVar("T")
Array: TypeAlias = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Array, npt.NDArray[np.int64]], Array]
"""From waveforms [clips, samples] and their lengths [clips] to logits [clips, labels]."""

RATE = 16000
REFERENCE = "PyTorch float16"
HEADLINE = (5.0, 1)  # seconds of each clip, clips
CELLS = tuple(
    sorted(
        (
            (seconds, clips)
            for seconds in (1.0, 5.0, 10.0, 30.0)
            for clips in (1, 8, 32)
            if seconds * clips < 960  # there ONNX Runtime 1.31.1 reads memory that is not its own
        ),
        key=lambda cell: (cell != HEADLINE, cell[0] * cell[1]),
    )
)
LARGEST = (10.0, 32)
LARGE = 160.0  # seconds of audio in a run from which only `MAIN` engines share the GPU's memory
MAIN = (
    REFERENCE,
    "PyTorch bfloat16",
    "PyTorch float32",
    "PyTorch float16, torch.compile",
    "voxmood fp16",
    "voxmood fp32",
)
TURN_SECONDS, TURN_RUNS = 0.05, 10


@dataclass(frozen=True)
class Cell:
    """Hold the speed of all engines on batches of so many clips of one length."""

    seconds: float  # of each clip
    clips: int
    rounds: int
    first_ms: Mapping[str, float]  # the first run of each engine at this size
    median_ms: Mapping[str, float]
    of_reference: Mapping[str, Ratio]  # the time of each engine over PyTorch float16's
    errors: Mapping[str, str]


@dataclass(frozen=True)
class Exactness:
    """How near the logits of an engine are to those of the bundle's fp32 on the CPU."""

    max_logit_error: float
    sqnr_db: float
    agreement: float  # the share of clips that get the same label
    batch_error: float  # the largest |Δlogit| between a batch of all clips and the clips alone


@dataclass(frozen=True)
class Memory:
    """Megabytes of the GPU's memory that a process holds after runs of one size."""

    headline: float
    largest: float


@dataclass(frozen=True)
class Int8:
    """Count the nodes of each provider when CUDA runs the shipped int8, or hold its error."""

    nodes: Mapping[str, int]
    error: str | None = None


@dataclass
class Report:
    """Everything that is measured."""

    date: str
    gpu: str
    driver: str
    machine: Machine
    versions: Mapping[str, str]
    parameters: int
    nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    exactness: dict[str, Exactness] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    memory_mb: dict[str, Memory] = field(default_factory=dict)
    int8: Int8 | None = None
    errors: dict[str, str] = field(default_factory=dict)


def load_session(
    bundle: Path, precision: str, device: str, options: Mapping[str, str] = {}
) -> onnxruntime.InferenceSession:
    """Return a session of a bundle, as the runtime makes it."""
    return create_session(
        bundle / model_file(precision),
        providers=resolve_provider([(device, options)]),
        threads=None,
        config=read_bundle(bundle).session_options,
        int8=False,
    )


def ours(bundle: Path, precision: str, device: str, options: Mapping[str, str] = {}) -> Run:
    """Return a bundle in a session that runs kernel by kernel."""
    options = {**options, "enable_cuda_graph": "0"} if device == "cuda" else options
    session = load_session(bundle, precision, device, options)

    def run(waveforms: Array, lengths: npt.NDArray[np.int64]) -> Array:
        logits: Array = session.run(["logits"], {"waveform": waveforms, "lengths": lengths})[0]
        return logits

    return run


def graphed(bundle: Path, precision: str, device: str, options: Mapping[str, str] = {}) -> Run:
    """Return a bundle that runs single clips by CUDA graphs, as the runtime does."""
    session = load_session(bundle, precision, device, options)
    graphs = CudaGraphs(session, ["logits"], RATE, device)
    return lambda waveforms, lengths: graphs.run(waveforms, lengths)[0]


def api(bundle: Path, precision: str, device: str) -> Run:
    """Return a bundle behind the runtime's own API."""
    model = voxmood.load(bundle, precision=precision, provider=device, verify=False)

    def run(waveforms: Array, lengths: npt.NDArray[np.int64]) -> Array:
        clips = [row[:length] for row, length in zip(waveforms, lengths, strict=True)]
        found = model.predict_batch(clips, sampling_rate=RATE)
        return np.stack([prediction.logits for prediction in found])

    return run


def pytorch(checkpoint: Path, dtype: str, device: str, mode: str | None = None) -> Run:
    """Return a checkpoint in transformers; with a mode, as `torch.compile` makes it."""
    kind = getattr(torch, dtype)
    model: Any = AutoModelForAudioClassification.from_pretrained(checkpoint, dtype=kind)
    model = model.eval().to(device)
    if mode is not None:
        model = torch.compile(model, mode=mode)

    def run(waveforms: Array, lengths: npt.NDArray[np.int64]) -> Array:
        with torch.inference_mode():
            values = torch.from_numpy(waveforms).to(device).to(kind)
            logits: Array = model(values).logits.float().cpu().numpy()
        return logits

    return run


def engines(bundle: Path, checkpoint: Path, device: str) -> dict[str, Callable[[], Run]]:
    """Return how to load each engine."""
    loaders: dict[str, Callable[[], Run]] = {
        REFERENCE: partial(pytorch, checkpoint, "float16", device),
        "PyTorch bfloat16": partial(pytorch, checkpoint, "bfloat16", device),
        "PyTorch float32": partial(pytorch, checkpoint, "float32", device),
        "voxmood fp16": partial(graphed, bundle, "fp16", device),
        "voxmood fp16, predict_batch": partial(api, bundle, "fp16", device),
        "voxmood fp16, no CUDA graph": partial(ours, bundle, "fp16", device),
        "voxmood fp32": partial(graphed, bundle, "fp32", device),
    }
    if device == "cuda":
        loaders |= {
            "PyTorch float16, torch.compile": partial(
                pytorch, checkpoint, "float16", device, "reduce-overhead"
            ),
            "voxmood fp32 with TF32": partial(graphed, bundle, "fp32", device, {"use_tf32": "1"}),
        }
    return loaders


def main() -> None:
    """Measure, and write after every part, so that a run that is cut short leaves what it has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="Bundle with fp32 and fp16.")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="CHECKPOINT", help="Its checkpoint."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="Also write the figures.")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script.")
    parser.add_argument("--rounds", type=int, default=15, help="Rounds (default: %(default)s).")
    parser.add_argument(
        "--budget",
        type=float,
        default=240.0,
        help="Seconds after which no further size begins (default: %(default)s).",
    )
    parser.add_argument(
        "--sizes",
        type=_size,
        nargs="+",
        default=CELLS,
        metavar="SECONDSxCLIPS",
        help="Sizes of the input (default: 1 to 30 s by 1 to 32 clips).",
    )
    parser.add_argument("--memory", metavar="ENGINE", help=argparse.SUPPRESS)
    parser.add_argument("--warm", metavar="ENGINE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    loaders = engines(options.bundle, options.reference, options.device)
    if options.memory or options.warm:
        _only(loaders[options.memory or options.warm], options.sizes, bool(options.memory))
        return
    begun = time.monotonic()
    report = _begin(options.reference, options.device)

    def write() -> None:
        if options.json:
            text = json.dumps(to_json(report), indent=2)
            options.json.write_text(text + "\n", encoding="utf-8")
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    if options.device == "cuda":  # before this process holds memory of the GPU itself
        for name in (REFERENCE, "voxmood fp16", "PyTorch float32", "voxmood fp32"):
            _attempt(report.errors, f"memory of {name}", partial(_memory, report, name))
        write()
    runs: dict[str, Run] = {}
    for name, load in loaders.items():
        started = time.monotonic()
        found = _attempt(report.errors, name, load)
        if found is not None:
            runs[name] = found
        report.load_s[name] = round(time.monotonic() - started, 2)
    for precision in ("fp16", "fp32"):
        session = load_session(options.bundle, precision, options.device)
        report.nodes = {**report.nodes, precision: nodes_by_provider(session)}
        del session
    write()
    expected = ours(options.bundle, "fp32", "cpu")
    for name, run in runs.items():
        if not name.startswith("PyTorch"):
            near = _attempt(
                report.errors, f"exactness of {name}", partial(_exactness, run, expected)
            )
            if near is not None:
                report.exactness[name] = near
    write()
    for seconds, clips in options.sizes:
        if time.monotonic() - begun > options.budget:
            report.errors[f"{seconds:g} s by {clips}"] = "not measured: out of time"
            continue
        large = seconds * clips >= LARGE
        # Another number of clips would be compiled anew, for a minute.
        chosen = {
            name: run
            for name, run in runs.items()
            if (name in MAIN or not large) and (clips == 1 or "compile" not in name)
        }
        rounds = options.rounds // 3 if large else options.rounds
        report.cells.append(measure_cell(chosen, seconds, clips, rounds))
        torch.cuda.empty_cache()
        write()
    report.int8 = _int8(options.device)
    write()
    print(json.dumps(to_json(report), indent=2))


def measure_cell(runs: Mapping[str, Run], seconds: float, clips: int, rounds: int) -> Cell:
    """Time all engines on clips of one length; their order alternates."""
    waveforms, lengths = inputs(seconds, clips)
    first: dict[str, float] = {}
    errors: dict[str, str] = {}
    for name, run in runs.items():
        begun = time.perf_counter()
        _attempt(errors, name, partial(run, waveforms, lengths))
        first[name] = round(1000 * (time.perf_counter() - begun), 3)
        for _ in range(3):  # what captures and compiles does so in the first runs
            if name not in errors:
                _attempt(errors, name, partial(run, waveforms, lengths))
    names = [name for name in runs if name not in errors]
    turns: list[Round] = []
    for number in range(rounds):
        order = names if number % 2 else names[::-1]
        turns.append({name: _turn(runs[name], waveforms, lengths) for name in order})
    medians = {
        name: round(statistics.median(statistics.median(turn[name]) for turn in turns), 4)
        for name in names
    }
    ratios = {}
    for name in names if REFERENCE in names else []:
        value, low, high = ratio(turns, name, REFERENCE)
        ratios[name] = Ratio(round(value, 4), (round(low, 4), round(high, 4)), low <= 1 <= high)
    return Cell(seconds, clips, rounds, first, medians, ratios, errors)


def inputs(seconds: float, clips: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return generated clips of one length, with mean 0 and variance 1, and their lengths."""
    rows = [speech_like(seconds, RATE, seed) for seed in range(min(clips, 4))]
    waveforms = np.stack([_normalized(rows[index % len(rows)]) for index in range(clips)])
    return waveforms, np.full(clips, waveforms.shape[1], np.int64)


def _normalized(waveform: Waveform) -> Waveform:
    return np.asarray((waveform - waveform.mean()) / waveform.std(), np.float32)


def _turn(run: Run, waveforms: Array, lengths: npt.NDArray[np.int64]) -> list[float]:
    taken: list[float] = []
    while not taken or (sum(taken) < 1000 * TURN_SECONDS and len(taken) < TURN_RUNS):
        begun = time.perf_counter()
        run(waveforms, lengths)
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def _exactness(run: Run, expected: Run) -> Exactness:
    clips = [_normalized(clip) for clip in generated_clips(RATE)]
    alone = [(clip[None], np.array([len(clip)], np.int64)) for clip in clips]
    truth = np.concatenate([expected(*clip) for clip in alone])
    found = np.concatenate([run(*clip) for clip in alone])
    lengths = np.array([len(clip) for clip in clips], np.int64)
    padded = np.zeros((len(clips), lengths.max()), np.float32)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = clip
    batch = run(padded, lengths)
    return Exactness(
        float(np.abs(found - truth).max()),
        round(sqnr(truth, found), 2),
        agreement(truth, found),
        float(np.abs(batch - found).max()),
    )


def _memory(report: Report, name: str) -> None:
    used = []
    for seconds, clips in (HEADLINE, LARGEST):
        command = [sys.executable, *sys.argv, "--memory", name, "--sizes", f"{seconds:g}x{clips}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        used.append(float(done.stdout.split()[-1]))
    report.memory_mb[name] = Memory(*used)


def _only(load: Callable[[], Run], sizes: Sequence[tuple[float, int]], memory: bool) -> None:
    """Run one engine; print the GPU's memory that is in use then, if asked for."""
    run = load()
    for size in sizes:
        for _ in range(3):
            run(*inputs(*size))
    if memory:
        print(_nvidia_smi("memory.used"), flush=True)


def _int8(device: str) -> Int8:
    try:
        return Int8(voxmood.load(shipped_bundle(), precision="int8", provider=device).nodes)
    except voxmood.VoxmoodError as error:
        return Int8({}, str(error))


def _begin(checkpoint: Path, device: str) -> Report:
    weights = checkpoint / "model.safetensors"
    cuda = device == "cuda"
    return Report(
        date=datetime.now(UTC).date().isoformat(),
        gpu=_nvidia_smi("name") if cuda else "none",
        driver=_nvidia_smi("driver_version") if cuda else "none",
        machine=machine(),
        versions={
            "voxmood": voxmood.__version__,
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        parameters=weights.stat().st_size // 4,
    )


def _nvidia_smi(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _attempt(errors: dict[str, str], name: str, action: Callable[[], T]) -> T | None:
    """Return what an action returns, or None, with its error in the report, where it fails."""
    try:
        return action()
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        errors[name] = f"{type(error).__name__}: {first}"[:300]
        print(f"{name}: {errors[name]}", file=sys.stderr, flush=True)
        return None


def _size(text: str) -> tuple[float, int]:
    seconds, _, clips = text.partition("x")
    return float(seconds), int(clips)


if __name__ == "__main__":
    main()
