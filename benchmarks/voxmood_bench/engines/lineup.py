"""The engines side by side: the reference, the bundle in each precision, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from voxmood.bundle.description import Bundle
from voxmood.engine.precision import choose_precision
from voxmood_bench.engines.process import LoadSettings
from voxmood_bench.report.schema import AGAIN


@dataclass(frozen=True)
class Engine:
    """How an engine is run.

    Attributes:
        environment: one of `environments.REQUIREMENTS`; None is this one.
        kind: one of `process.LOADERS`.
        model: what it loads, as `Models.path` calls it.
        settings: how it is loaded.
    """

    environment: str | None
    kind: str
    model: str
    settings: LoadSettings = field(default_factory=LoadSettings)


REFERENCE = "PyTorch float32"

BASELINES = {
    "PyTorch bfloat16": Engine(
        "pytorch", "pytorch", "checkpoint", LoadSettings(precision="bfloat16")
    ),
    "stock ONNX Runtime fp32": Engine("optimum", "onnxruntime", "stock"),
    "stock ONNX Runtime int8": Engine("optimum", "onnxruntime", "stock_int8"),
    "stock OpenVINO bfloat16": Engine(
        "openvino", "openvino", "stock", LoadSettings(precision="bf16")
    ),
    "stock OpenVINO NNCF int8": Engine("openvino", "openvino", "nncf"),
    # In float32 what is not int8, as NNCF judged it: OpenVINO would take bfloat16 on some CPUs.
    "stock OpenVINO NNCF int8 (accuracy-aware)": Engine(
        "openvino", "openvino", "nncf_accurate", LoadSettings(precision="f32")
    ),
    "voxmood fp32 in OpenVINO bfloat16": Engine(
        "openvino", "openvino", "fp32", LoadSettings(precision="bf16")
    ),
    "int8 products alone": Engine(None, "lower_bound", "lower_bound"),
}
"""What a bundle can be compared with beside its reference. The last is not a model: it is a lower
bound on the time of any arrangement of the same matmuls."""

CUDA_BASELINES = {
    "PyTorch float16 on CUDA": Engine(
        None, "pytorch", "checkpoint", LoadSettings(precision="float16", device="cuda")
    )
}
"""What a bundle on CUDA is compared with, on the same GPU."""


def lineup(
    bundle: Bundle, providers: Sequence[str], baselines: Sequence[str], *, own_class: bool = True
) -> dict[str, Engine]:
    """Return the engines of a run by name.

    They are the reference, the bundle's, the main engine once more, and baselines, in this order.

    Args:
        bundle: all its precisions are run,
        providers: on each of these.
        baselines: which of `BASELINES`.
        own_class: whether PyTorch runs the checkpoint in this environment as `Reference` takes it.
    """
    first = main_engine(bundle)
    ours = {
        _name(precision, provider): Engine(
            None, "voxmood", "bundle", LoadSettings(precision=precision, provider=provider)
        )
        for provider in providers
        for precision in sorted(bundle.precisions, key=lambda name: _name(name, "cpu") != first)
    }
    copy = {copy_of(first): ours[first]} if first in ours else {}
    reference = Engine(None, "pytorch", "checkpoint", LoadSettings(precision="float32"))
    others = (CUDA_BASELINES if "cuda" in providers else {}) | {
        name: BASELINES[name] for name in baselines
    }
    engines = {REFERENCE: reference} | ours | copy | others
    return engines | {
        name: replace(engine, settings=replace(engine.settings, own_class=own_class))
        for name, engine in engines.items()
        if engine.kind == "pytorch" and engine.environment is None
    }


def main_engine(bundle: Bundle) -> str:
    """Return the name of the engine that `voxmood.load` chooses on a CPU."""
    return _name(choose_precision(bundle, "auto", "CPUExecutionProvider"), "cpu")


def copy_of(name: str) -> str:
    """Return the name of the second copy of an engine."""
    return f"{name} {AGAIN}"


def is_model(name: str) -> bool:
    """Return whether an engine is a model of its own: no lower bound and no second copy."""
    return not name.endswith(AGAIN) and (
        name not in BASELINES or BASELINES[name].kind != "lower_bound"
    )


def is_calibrated(engine: Engine) -> bool:
    """Return whether recordings are needed to make an engine's model: NNCF calibrates on them."""
    return engine.model.startswith("nncf")


def needs_class(engine: Engine) -> bool:
    """Return whether an engine's model is made by transformers' own class, and by nothing else."""
    return engine.environment is not None and engine.model != "fp32"


def _name(precision: str, provider: str) -> str:
    return f"voxmood {precision}" + ("" if provider == "cpu" else f" {provider}")
