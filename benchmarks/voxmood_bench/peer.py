"""One engine in a process of its own, driven by lines of JSON on standard input.

It is run by its path, in the engine's own environment, so it imports nothing of voxmood but for
voxmood's own engines. Between requests it is blocked on its input and takes no processor time.
An answer is one line: what was asked for, or `{"error": "..."}`.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Run: TypeAlias = Callable[[Array], Array | None]
"""From a waveform to logits, all that a user of the engine has to do included."""

Options: TypeAlias = Mapping[str, Any]
"""`precision`; `device` of PyTorch; `normalise`, whether the checkpoint wants it; `config` of ONNX
Runtime's session."""

RATE = 16000
IMPORTS = {
    "voxmood": ("voxmood", "onnxruntime"),
    "pytorch": ("torch", "transformers"),
    "onnxruntime": ("onnxruntime",),
    "floor": ("onnxruntime",),
    "openvino": ("openvino",),
}
"""What an engine's time to import is that of."""

CONVERTERS = {"onnxruntime": ("optimum-onnx",), "openvino": ("nncf",)}
"""What else had a hand in the model that an engine runs."""

CLIP_SAMPLES = 5 * RATE  # of each calibration clip
CALIBRATION_CLIPS = 8


def load_voxmood(model: str, threads: int, options: Options) -> Run:
    """The bundle through its own API."""
    import voxmood

    names = ("precision", "provider", "verify", "low_memory")
    chosen = {name: options[name] for name in names if name in options}
    loaded = voxmood.load(model, threads=threads, **chosen)
    return lambda waveform: loaded.predict(waveform, sampling_rate=RATE).logits


def load_pytorch(model: str, threads: int, options: Options) -> Run:
    """The checkpoint in transformers, with its own feature extractor."""
    # By its path, since voxmood_bench is not in the environments of peers.
    module = runpy.run_path(str(Path(__file__).with_name("reference.py")))
    device = options.get("device", "cpu")
    reference = module["Reference"](
        model, threads=threads, dtype=options["precision"], device=device
    )
    run: Run = reference.logits
    return run


def load_onnxruntime(model: str, threads: int, options: Options) -> Run:
    """A stock export in ONNX Runtime; the waveform is normalised as the checkpoint wants it."""
    session = _session(model, threads, {})

    def run(waveform: Array) -> Array:
        inputs = {"input_values": _input_values(waveform, options["normalise"])}
        logits: Array = session.run(["logits"], inputs)[0][0]
        return logits

    return run


def load_floor(model: str, threads: int, options: Options) -> Run:
    """The graph of `voxmood_bench.floor` on random input; the waveform is not looked at."""
    session = _session(model, threads, options["config"])
    random = np.random.default_rng(0)
    feeds = {
        entry.name: random.integers(0, 256, entry.shape, np.uint8) for entry in session.get_inputs()
    }

    def run(waveform: Array) -> None:
        session.run(None, feeds)

    return run


def load_openvino(model: str, threads: int, options: Options) -> Run:
    """A graph in OpenVINO, a stock export or a bundle's; OpenVINO picks a precision not given."""
    import openvino

    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if "precision" in options:
        config["INFERENCE_PRECISION_HINT"] = options["precision"]
    compiled = openvino.Core().compile_model(model, "CPU", config)
    request = compiled.create_infer_request()
    ours = any("waveform" in port.names for port in compiled.inputs)

    def run(waveform: Array) -> Array:
        if ours:
            inputs = {"waveform": waveform[None], "lengths": np.array([len(waveform)], np.int64)}
        else:
            inputs = {"input_values": _input_values(waveform, options["normalise"])}
        request.infer(inputs)
        return np.array(request.get_tensor("logits").data[0])

    return run


def _session(model: str, threads: int, config: Mapping[str, str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _input_values(waveform: Array, normalise: bool) -> Array:
    if normalise:  # as Wav2Vec2FeatureExtractor
        waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    return waveform[None]


def convert_stock(source: str, target: str, **_: Any) -> None:
    """The checkpoint as Optimum exports it."""
    from optimum.exporters.onnx import main_export

    main_export(source, target, task="audio-classification", do_validation=False)


def convert_stock_int8(source: str, target: str, **_: Any) -> None:
    """The stock export with ONNX Runtime's dynamic quantisation of what it can quantise."""
    from onnxruntime.quantization import quantize_dynamic

    path = Path(target) / "model.onnx"
    quantize_dynamic(Path(source), path, op_types_to_quantize=["MatMul", "Gemm"])


def convert_nncf(source: str, target: str, audio: str, normalise: bool, **_: Any) -> None:
    """The stock export with NNCF's post-training quantisation, calibrated on clips of 5 s."""
    import nncf
    import openvino

    waveform = np.load(audio)
    starts = range(0, len(waveform) - CLIP_SAMPLES + 1, CLIP_SAMPLES)
    clips = [
        {"input_values": _input_values(waveform[start : start + CLIP_SAMPLES], normalise)}
        for start in starts[:CALIBRATION_CLIPS]
    ]
    quantised = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(clips),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(clips),
    )
    openvino.save_model(quantised, str(Path(target) / "model.xml"))


def convert_floor(source: str, target: str, audio: str, threads: int, **_: Any) -> None:
    """The graph of the int8 products alone."""
    from voxmood_bench.floor import write_floor

    write_floor(Path(source), Path(target) / "model.onnx", np.load(audio), threads)


class Peer:
    """Answers requests; the engine is the one that was loaded last."""

    def __init__(self) -> None:
        self.run_engine: Run | None = None

    def convert(self, kind: str, **arguments: Any) -> dict[str, Any]:
        """Makes a model out of another one."""
        globals()[f"convert_{kind}"](**arguments)
        return {}

    def load(self, kind: str, model: str, threads: int, options: Options) -> dict[str, Any]:
        """Imports what an engine is made of and loads a model; says how long each took."""
        begin = time.perf_counter()
        for module in IMPORTS[kind]:
            import_module(module)
        imported = time.perf_counter()
        self.run_engine = globals()[f"load_{kind}"](model, threads, options)
        return {
            "import_s": imported - begin,
            "load_s": time.perf_counter() - imported,
            "versions": _versions(IMPORTS[kind] + CONVERTERS.get(kind, ())),
        }

    def run(self, audio: str, least_seconds: float, most_runs: int) -> dict[str, Any]:
        """Times runs on a waveform that is already in memory, one at least.

        Args:
            audio: a .npy file.
            least_seconds: runs go on until they have taken so long,
            most_runs: or until there were so many.

        Returns:
            `seconds` of each, the last one's `logits`, and which share of the machine's
            processors all `others` had meanwhile.
        """
        if self.run_engine is None:
            raise RuntimeError("nothing is loaded")
        waveform = np.load(audio)
        seconds: list[float] = []
        busy, own = _busy_seconds(), time.process_time()
        while not seconds or (sum(seconds) < least_seconds and len(seconds) < most_runs):
            begin = time.perf_counter()
            logits = self.run_engine(waveform)
            seconds.append(time.perf_counter() - begin)
        others = _busy_seconds() - busy - (time.process_time() - own)
        return {
            "seconds": seconds,
            "logits": None if logits is None else [float(value) for value in logits],
            "others": max(0.0, others / (sum(seconds) * (os.cpu_count() or 1))),
        }

    def memory(self) -> dict[str, Any]:
        """Megabytes of this process (Linux): its own, and the most it ever had resident."""
        return {
            "private_mb": _megabytes("smaps_rollup", "Private_Dirty"),
            # Not ru_maxrss, in which a process begins with what its parent had.
            "peak_resident_mb": _megabytes("status", "VmHWM"),
        }


def _busy_seconds() -> float:
    """Seconds that the machine's processors have worked, or were not given to it (Linux)."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _megabytes(file: str, key: str) -> float:
    for line in Path("/proc/self", file).read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/{file} has no {key}")


def _versions(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def main() -> None:
    """Answers until the input ends."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports ONNX Runtime
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(peer, request.pop("command"))(**request)
        except Exception as error:  # whatever it is, it is this engine's row
            first = next(iter(str(error).strip().splitlines()), "")
            answer = {"error": f"{type(error).__name__}: {first}"[:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
