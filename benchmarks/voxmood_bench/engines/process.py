"""One engine in a process of its own, driven by lines of JSON on standard input.

It is run by its path, in the engine's own environment, so it imports nothing of voxmood except for
voxmood's own engines. Between requests it waits for input and takes no processor time. A request is
a line `[command, argument, ...]`, an answer a line `[error, result]`, of which one is null.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Run: TypeAlias = Callable[[Array], Array | None]
"""From a waveform to logits, with all that a user of the engine has to do."""

RATE = 16000

# Of NNCF's accuracy control, which takes one product after another back to float. It first ranks
# them: for each, it compiles the network without it once more, and runs it on some clips.
MAX_DROP = 0.001  # the share of noise in the power of the logits, which is 30 dB
JUDGED_CLIPS = 16  # with few, NNCF would fit the network to these
RANKING_CLIPS = 2  # of these; fewer than all, by which `Exactness` tells rankings
CONTROL_SECONDS = 900.0


@dataclass(frozen=True)
class LoadSettings:
    """How a model is loaded; a loader ignores what does not concern its engine."""

    precision: str | None = None  # what the engine computes in; None leaves the choice to it
    provider: str = "cpu"  # this and the next two: as `voxmood.load` takes them
    verify: bool = True
    low_memory: bool = False
    device: str = "cpu"  # where PyTorch computes
    own_class: bool = True  # as `Reference` takes it
    normalize: bool = False  # whether the model expects a normalized waveform
    session_config: Mapping[str, str] = field(default_factory=dict)  # of ONNX Runtime


@dataclass(frozen=True)
class Conversion:
    """What a model is made of."""

    source: str  # the model to convert
    target: str  # the folder that gets the result
    audio: str  # a .npy file of a waveform to take the shapes from, or clips as `read_clips` reads
    normalize: bool  # whether the model expects a normalized waveform
    task: str  # one of `voxmood.bundle.description.OUTPUTS`
    threads: int  # how many the conversion may use


@dataclass(frozen=True)
class Loaded:
    """The seconds that importing and loading took, and the versions of the engine's packages."""

    import_s: float
    load_s: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Runs:
    """What some runs on a waveform gave."""

    seconds: list[float]  # of each run
    logits: list[float] | None  # of the last run, [labels]; None of an engine that has none
    others: float  # the share of the machine's processors that other processes had meanwhile


@dataclass(frozen=True)
class MemoryUse:
    """Megabytes of a process: those that it alone holds, and the most it ever had resident."""

    private_mb: float
    peak_resident_mb: float


def load_voxmood(model: str, threads: int, settings: LoadSettings) -> Run:
    """Load a bundle through its own API."""
    import voxmood

    loaded = voxmood.load(
        model,
        threads=threads,
        precision=settings.precision or "auto",
        provider=settings.provider,
        verify=settings.verify,
        low_memory=settings.low_memory,
    )
    return lambda waveform: loaded.predict(waveform, sampling_rate=RATE).logits


def load_pytorch(model: str, threads: int, settings: LoadSettings) -> Run:
    """Load a checkpoint in PyTorch, with its own feature extractor."""
    # By its path, since the environments of baselines do not have voxmood_bench.
    module = runpy.run_path(str(Path(__file__).with_name("reference.py")))
    reference = module["Reference"](
        model,
        own_class=settings.own_class,
        threads=threads,
        dtype=settings.precision,
        device=settings.device,
    )
    run: Run = reference.logits
    return run


def load_onnxruntime(model: str, threads: int, settings: LoadSettings) -> Run:
    """Load a stock export in ONNX Runtime, which gets the waveform as the checkpoint expects it."""
    session = _session(model, threads, {})

    def run(waveform: Array) -> Array:
        inputs = {"input_values": _input_values(waveform, settings.normalize)}
        logits: Array = session.run(["logits"], inputs)[0][0]
        return logits

    return run


def load_lower_bound(model: str, threads: int, settings: LoadSettings) -> Run:
    """Load the graph of `lower_bound`, which runs on random input and ignores the waveform."""
    session = _session(model, threads, settings.session_config)
    random = np.random.default_rng(0)
    feeds = {
        entry.name: random.integers(0, 256, entry.shape, np.uint8) for entry in session.get_inputs()
    }

    def run(waveform: Array) -> None:
        session.run(None, feeds)

    return run


def load_openvino(model: str, threads: int, settings: LoadSettings) -> Run:
    """Load a stock export, or the graph of a bundle, in OpenVINO."""
    import openvino

    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if settings.precision:
        config["INFERENCE_PRECISION_HINT"] = settings.precision
    compiled = openvino.Core().compile_model(model, "CPU", config)
    request = compiled.create_infer_request()
    ours = any("waveform" in port.names for port in compiled.inputs)

    def run(waveform: Array) -> Array:
        if ours:
            inputs = {"waveform": waveform[None], "lengths": np.array([len(waveform)], np.int64)}
        else:
            inputs = {"input_values": _input_values(waveform, settings.normalize)}
        request.infer(inputs)
        return np.array(request.get_output_tensor(0).data[0])  # logits, or values

    return run


def _session(model: str, threads: int, config: Mapping[str, str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _input_values(waveform: Array, normalize: bool) -> Array:
    if normalize:  # as Wav2Vec2FeatureExtractor does
        waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
    return waveform[None]


def convert_stock(conversion: Conversion) -> None:
    """Export a checkpoint as Optimum does."""
    from optimum.exporters.onnx import main_export

    main_export(
        conversion.source, conversion.target, task="audio-classification", do_validation=False
    )


def convert_stock_int8(conversion: Conversion) -> None:
    """Quantize what ONNX Runtime's dynamic quantization can quantize of the stock export."""
    from onnxruntime.quantization import quantize_dynamic

    path = Path(conversion.target) / "model.onnx"
    quantize_dynamic(Path(conversion.source), path, op_types_to_quantize=["MatMul", "Gemm"])


def convert_nncf(conversion: Conversion) -> None:
    """Quantize the stock export with NNCF after training."""
    import nncf
    import openvino

    inputs = _calibration_inputs(conversion)
    quantized = nncf.quantize(
        openvino.Core().read_model(conversion.source),
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,  # which SmoothQuant is part of
        subset_size=len(inputs),
    )
    openvino.save_model(quantized, str(Path(conversion.target) / "model.xml"))


def convert_nncf_accurate(conversion: Conversion) -> None:
    """Quantize likewise, but keep products in float until the logits are near enough.

    SmoothQuant comes first and by itself, as a quantization that leaves everything out: what NNCF
    takes back to float gets the weights of the network that it was given, so if SmoothQuant changed
    them after that, its factors of the activations would stay without those of the weights.
    """
    import nncf
    import openvino

    inputs = _calibration_inputs(conversion)
    model = nncf.quantize(
        openvino.Core().read_model(conversion.source),
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=[".*"]),
    )
    count = min(JUDGED_CLIPS, len(inputs))
    judged = [inputs[index * len(inputs) // count] for index in range(count)]
    original = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = [original(each)[0][0] for each in judged]
    quantized = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(inputs),
        nncf.Dataset(list(zip(judged, expected, strict=True))),
        Exactness(np.stack(expected), conversion.task, CONTROL_SECONDS),
        max_drop=MAX_DROP,
        drop_type=nncf.DropType.ABSOLUTE,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        ),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=RANKING_CLIPS,
            num_ranking_workers=1,  # since each of them takes the memory of a whole network
        ),
    )
    openvino.save_model(quantized, str(Path(conversion.target) / "model.xml"))


class Exactness:
    """Judge how near the logits of a network are to those it had before: 1 minus noise over signal.

    Signal and noise are those of `voxmood.comparison.metrics.sqnr`, so 0.999 is 30 dB. The search
    of NNCF has no limit of time. So when the time is over, any network that is judged on all clips
    counts as exact, which ends the search. On fewer clips, products are ranked: that must go on.

    Args:
        expected: the logits [clips, labels] that the network had.
        task: what the network does.
        seconds: the limit of time, from the first call on.
    """

    def __init__(self, expected: Array, task: str, seconds: float = inf) -> None:
        self._clips, self._seconds, self._begin = len(expected), seconds, inf
        self._centered = task == "classification"
        signal = self._signal(expected)
        if task == "regression":
            signal = signal - signal.mean(axis=0)
        self._power = float((signal**2).mean())

    def __call__(
        self, model: Callable[[Any], Any], clips: Iterable[tuple[Any, Array]]
    ) -> tuple[float, list[float]]:
        """Return the figure over all clips, and that of each.

        Args:
            model: returns outputs, of which the first is the logits [1, labels].
            clips: what the model takes, with the logits [labels] that are expected.
        """
        noise = [
            float((self._signal(model(inputs)[0][0] - expected) ** 2).mean())
            for inputs, expected in clips
        ]
        self._begin = min(self._begin, time.monotonic())
        if len(noise) == self._clips and time.monotonic() - self._begin > self._seconds:
            noise = [0.0] * len(noise)
        values = [1 - each / self._power for each in noise]
        return sum(values) / len(values), values

    def _signal(self, logits: Array) -> Array:
        """Return logits without what softmax ignores."""
        logits = np.asarray(logits, np.float64)
        return logits - logits.mean(axis=-1, keepdims=True) if self._centered else logits


def write_clips(path: Path, clips: Iterable[Array]) -> None:
    """Write waveforms [samples] to a .npz file."""
    np.savez(path, *clips)


def read_clips(path: str) -> list[Array]:
    """Return the waveforms of a file that `write_clips` wrote."""
    with np.load(path) as file:
        return [file[name] for name in file.files]


def _calibration_inputs(conversion: Conversion) -> list[dict[str, Array]]:
    clips = read_clips(conversion.audio)
    return [{"input_values": _input_values(clip, conversion.normalize)} for clip in clips]


def convert_lower_bound(conversion: Conversion) -> None:
    """Make the graph of nothing but a bundle's int8 matmuls."""
    from voxmood_bench.engines.lower_bound import write_lower_bound

    target = Path(conversion.target) / "model.onnx"
    waveform = np.load(conversion.audio)
    write_lower_bound(Path(conversion.source), target, waveform, conversion.threads)


@dataclass(frozen=True)
class Loader:
    """How a kind of engine is loaded."""

    load: Callable[[str, int, LoadSettings], Run]  # loads a model on so many threads
    imports: tuple[str, ...]  # the packages whose import is timed
    converters: tuple[str, ...] = ()  # other packages that had a part in making the model


LOADERS = {
    "voxmood": Loader(load_voxmood, ("voxmood", "onnxruntime")),
    "pytorch": Loader(load_pytorch, ("torch", "transformers")),
    "onnxruntime": Loader(load_onnxruntime, ("onnxruntime",), ("optimum-onnx",)),
    "openvino": Loader(load_openvino, ("openvino",), ("nncf",)),
    "lower_bound": Loader(load_lower_bound, ("onnxruntime",)),
}
CONVERTERS = {
    "stock": convert_stock,
    "stock_int8": convert_stock_int8,
    "nncf": convert_nncf,
    "nncf_accurate": convert_nncf_accurate,
    "lower_bound": convert_lower_bound,
}


class EngineProcess:
    """Answers requests to one engine, the one that was loaded last."""

    def __init__(self) -> None:
        self.run_engine: Run | None = None
        self.commands: dict[str, Callable[..., Loaded | Runs | MemoryUse | None]] = {
            "convert": self.convert,
            "load": self.load,
            "run": self.run,
            "memory": self.memory,
        }

    def convert(self, kind: str, conversion: Mapping[str, Any]) -> None:
        """Make a model out of another one."""
        CONVERTERS[kind](Conversion(**conversion))

    def load(self, kind: str, model: str, threads: int, settings: Mapping[str, Any]) -> Loaded:
        """Import what an engine is made of and load a model."""
        loader = LOADERS[kind]
        begin = time.perf_counter()
        for module in loader.imports:
            import_module(module)
        imported = time.perf_counter()
        self.run_engine = loader.load(model, threads, LoadSettings(**settings))
        loaded = time.perf_counter()
        versions = _versions(loader.imports + loader.converters)
        return Loaded(imported - begin, loaded - imported, versions)

    def run(self, audio: str, least_seconds: float, most_runs: int) -> Runs:
        """Time runs on a waveform that is already in memory, at least one.

        Args:
            audio: a .npy file of the waveform.
            least_seconds: the runs go on until they have taken this long,
            most_runs: or until there are this many.
        """
        if self.run_engine is None:
            raise RuntimeError("no model is loaded")
        waveform = np.load(audio)
        seconds: list[float] = []
        busy, own = _busy_seconds(), time.process_time()
        while not seconds or (sum(seconds) < least_seconds and len(seconds) < most_runs):
            begin = time.perf_counter()
            logits = self.run_engine(waveform)
            seconds.append(time.perf_counter() - begin)
        others = _busy_seconds() - busy - (time.process_time() - own)
        return Runs(
            seconds,
            None if logits is None else [float(value) for value in logits],
            max(0.0, others / (sum(seconds) * (os.cpu_count() or 1))),
        )

    def memory(self) -> MemoryUse:
        """Return the memory of this process (Linux)."""
        # VmHWM and not ru_maxrss, in which a process begins with what its parent had.
        return MemoryUse(_megabytes("smaps_rollup", "Private_Dirty"), _megabytes("status", "VmHWM"))


def _busy_seconds() -> float:
    """Return the seconds that the machine's processors worked or were taken from it (Linux)."""
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
    """Answer requests until the input ends."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports ONNX Runtime
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    process = EngineProcess()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        error, result = None, None
        try:
            answer = process.commands[command](*arguments)
            result = None if answer is None else asdict(answer)
        except Exception as caught:  # whatever it is, the report shows it for this engine
            first = next(iter(str(caught).strip().splitlines()), "")
            error = f"{type(caught).__name__}: {first}"[:200]
        print(json.dumps([error, result]), file=answers, flush=True)


if __name__ == "__main__":
    main()
