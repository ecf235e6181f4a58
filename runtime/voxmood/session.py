"""ONNX Runtime sessions: which provider, how many threads, which options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

# ONNX Runtime reads it when it is imported; telemetry is on by default since 1.29 on Linux.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime
except ModuleNotFoundError as error:
    from voxmood.errors import MissingExtraError

    raise MissingExtraError(
        "ONNX Runtime is not installed; choose a flavour: pip install 'voxmood[cpu]', "
        "'voxmood[gpu]' or 'voxmood[openvino]'."
    ) from error

from voxmood.errors import BundleError, ProviderError
from voxmood.int8 import exact_products

Provider: TypeAlias = str | Sequence[tuple[str, Mapping[str, Any]]]
"""`cpu`, `cuda` or `openvino`, or ONNX Runtime's own list of (name, options)."""

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "cpu"),
    "cuda": ("CUDAExecutionProvider", "gpu"),
    "openvino": ("OpenVINOExecutionProvider", "openvino"),
}
"""Short name to ONNX Runtime's name and the extra that brings it."""


def resolve_provider(provider: Provider) -> list[tuple[str, dict[str, Any]]]:
    """ONNX Runtime's list of (name, options) for a provider, all of them installed.

    Raises:
        ProviderError: the provider is unknown or not in the installed ONNX Runtime.
    """
    if isinstance(provider, str):
        if provider not in PROVIDERS:
            raise ProviderError(
                f"provider {provider!r} is not known; there are {', '.join(PROVIDERS)}, and any "
                'other as a list of (name, options), such as [("CoreMLExecutionProvider", {})].'
            )
        wanted = [(PROVIDERS[provider][0], dict[str, Any]())]
    else:
        wanted = [(name, dict(options)) for name, options in provider]
    available = onnxruntime.get_available_providers()
    extras = dict(PROVIDERS.values())
    for name, _ in wanted:
        if name not in available:
            extra = extras.get(name)
            remedy = (
                f"install it in an environment of its own: pip install 'voxmood[{extra}]'."
                if extra
                else "install an ONNX Runtime that has it."
            )
            raise ProviderError(f"{name} is not there (only {', '.join(available)}); {remedy}")
    return wanted


def default_threads() -> int:
    """The processors that this process may use, not those that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def create_session(
    path: Path,
    *,
    providers: list[tuple[str, dict[str, Any]]],
    threads: int | None,
    config: Mapping[str, str],
    int8: bool,
    low_memory: bool = False,
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Opens an ONNX file.

    Args:
        path: the ONNX file, its external data beside it.
        providers: as `resolve_provider` returns them.
        threads: for one run; None takes `default_threads`.
        config: session configuration entries.
        int8: the graph's products are of int8, and are to be exact.
        low_memory: use the weights as they lie in the mapped file, and keep no arena.
        profile: begins the name of the file that the session's `end_profiling` writes and names.

    Raises:
        BundleError: ONNX Runtime cannot load the file.
        ProviderError: a provider did not start.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.log_severity_level = 4  # what goes wrong is raised; it need not be printed as well
    for key, value in {**config, **(exact_products() if int8 else {})}.items():
        options.add_session_config_entry(key, value)
    if low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        # Without enable_fallback=0, a provider that fails to start is silently replaced.
        session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors have no common type of their own
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({error}).") from error
    for name, _ in providers:
        if name not in session.get_providers():
            raise ProviderError(f"{name} did not start; see ONNX Runtime's notes on its set-up.")
    return session
