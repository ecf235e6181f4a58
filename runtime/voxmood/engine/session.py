"""ONNX Runtime sessions: which provider, how many threads, which options."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from voxmood.bundle.graph_file import GraphFile
from voxmood.engine.int8_probe import exact_products, products_saturate
from voxmood.engine.ort import onnxruntime
from voxmood.engine.plugins import Plugin, built_in_providers, device_type, find_plugin
from voxmood.engine.providers import DEVICES, PACKAGES, PREFIX, PROVIDERS, SHORT_NAMES
from voxmood.engine.threads import default_threads
from voxmood.errors import BundleError, ProviderError

Provider: TypeAlias = str | Sequence[str | tuple[str, Mapping[str, Any]]]
"""What names an execution provider: a short name, such as `cpu` or `webgpu`; ONNX Runtime's own
name of another one; or, as ONNX Runtime takes it, a list of names or of (name, options)."""

CPU: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]

DEFAULTS = {
    # Threads that wait for the next operator spin for a moment and then sleep; none spins after a
    # run. On 2 idle cores of a Xeon (Ice Lake), the fastest of 16 or more runs on 5 s of audio took
    # 13 ms with spinning and 16 ms without (shipped model), or 375 and 440 ms (full size). Where
    # another process kept a core busy, the median was 1.15 s with spinning, 0.91 s without, and
    # 1.25 s with unbounded spinning.
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "200",  # ONNX Runtime 1.20 does not know it
    "session.force_spinning_stop": "1",
    "session.record_ep_graph_assignment_info": "1",  # for `nodes_by_provider`
}
"""The configuration entries of every session; those of a bundle come later and replace them."""

FIRST_WITHOUT_ZERO_POINTS = (1, 30)
"""The first ONNX Runtime that makes int8 matmuls exact whose weights have no zero point. Older
releases end the process, or let the products saturate."""

MAX_RUN_BYTES = 8 << 30  # for all runs of a process; 60 s at full size in float take 3 GB


def resolve_provider(
    provider: Provider, device: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return ONNX Runtime's list of (name, options) for a provider.

    Args:
        provider: the provider, as `voxmood.load` takes it.
        device: the type of hardware that it must run on, one of `DEVICES`; None means any.

    Raises:
        ProviderError: a provider is unknown or not installed, or does not offer the device; or a
            plug-in is listed beside a built-in provider that is not the CPU.
    """
    if device is not None and device not in DEVICES:
        raise ProviderError(f"device is {device!r}; there are {', '.join(DEVICES)}.")
    one = (
        isinstance(provider, (str, bytes))
        or _is_pair(provider)
        or not isinstance(provider, Sequence)
    )
    asked = [_named(each) for each in ([provider] if one else provider)]
    if not asked:
        raise ProviderError("provider is an empty list; name one, such as 'cpu'.")
    wanted = []
    for name, options in asked:
        found = _find(name)
        if isinstance(found, Plugin):
            found.choose(device)
            wanted.append((found.providers()[0], options))
        else:
            wanted.append((found, options | _device_option(found, device)))
    names = {name for name, _ in wanted}
    built_in = names.intersection(built_in_providers())
    if built_in < names and built_in - {CPU[0][0]}:
        # ONNX Runtime would leave the plug-in out without saying so.
        raise ProviderError(
            f"provider {wanted[0][0]} cannot be combined with {wanted[1][0]}, because only one of "
            "them is a plug-in; name one."
        )
    return wanted


def _find(name: str) -> str | Plugin:
    """Return ONNX Runtime's name of a provider that is built in, or the plug-in.

    Raises:
        ProviderError: the name is not known, or what it means is not installed.
    """
    full, extra = PROVIDERS.get(name, (name, None))
    available = built_in_providers()
    if full in available:
        return full
    plugin = find_plugin(name)
    if plugin is not None:
        return plugin
    remedies = []
    if name in PACKAGES:
        package = "voxmood[openvino-plugin]" if name == "openvino" else PACKAGES[name]
        remedies.append(f"pip install '{package}' (ONNX Runtime 1.23 or newer)")
    if extra:
        remedies.append(f"in an environment of its own: pip install 'voxmood[{extra}]'")
    if name.endswith("ExecutionProvider"):
        remedies.append("install an ONNX Runtime or a plug-in that has it")
    if not remedies:
        raise ProviderError(
            f"provider {name!r} is not known; there are {', '.join(SHORT_NAMES)}, the names that "
            "ONNX Runtime uses, such as CoreMLExecutionProvider, and NAME for an installed plug-in "
            f"{PREFIX}NAME."
        )
    raise ProviderError(
        f"{full} is not installed (only {', '.join(available)}); {', or '.join(remedies)}."
    )


def _device_option(name: str, device: str | None) -> dict[str, str]:
    """Return the option that makes a built-in provider run on a device.

    Raises:
        ProviderError: the provider does not run on it.
    """
    if device is None:
        return {}
    if name == PROVIDERS["openvino"][0]:
        return {"device_type": device.upper()}
    if device != {PROVIDERS["cpu"][0]: "cpu", PROVIDERS["cuda"][0]: "gpu"}.get(name):
        raise ProviderError(
            f"{name} has no device {device!r}; name a provider that has: `voxmood info` lists the "
            "plug-ins that are installed and their devices."
        )
    return {}


def _is_pair(provider: object) -> bool:
    return isinstance(provider, tuple) and len(provider) == 2 and not isinstance(provider[1], str)


def _named(provider: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of a provider as it was given, and its options."""
    name: Any
    options: Any
    name, options = provider if _is_pair(provider) else (provider, {})
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise ProviderError(
            f"provider {provider!r} is neither a name, such as 'cpu', nor a pair of a name and its "
            "options, such as ('CoreMLExecutionProvider', {})."
        )
    return name, dict(options)


def check_int8_matmuls(path: Path, graph: GraphFile) -> None:
    """Check that this ONNX Runtime can make the int8 matmuls of a graph exact on this CPU.

    Args:
        path: the file, for the message.
        graph: what the file declares.

    Raises:
        BundleError: products saturate on this CPU, ONNX Runtime is older than 1.30, and the weights
            of the graph have no zero points, as in bundles of early versions of voxmood.
    """
    release = tuple(int(number) for number in onnxruntime.__version__.split(".")[:2])
    lacking = graph.matmuls_without_zero_point
    if lacking and release < FIRST_WITHOUT_ZERO_POINTS and products_saturate():
        raise BundleError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot compute its int8 products "
            "exactly on this CPU. Upgrade onnxruntime to 1.30 or newer, export the bundle again, "
            "or load its fp32 (precision='fp32', or @fp32 after the name of the bundle)."
        )


def create_session(
    path: Path,
    *,
    providers: list[tuple[str, dict[str, Any]]],
    device: str | None = None,
    threads: int | None,
    config: Mapping[str, str],
    int8: bool,
    seven_bits: bool = False,
    low_memory: bool = False,
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Return a session that runs an ONNX file.

    Args:
        path: the ONNX file, with its external data beside it.
        providers: what `resolve_provider` returned.
        device: the type of hardware, as it was given to `resolve_provider`.
        threads: the number of threads for one run; None means `default_threads()`.
        config: more session configuration entries.
        int8: whether the graph has int8 matmuls, which are then made exact.
        seven_bits: whether the weights have 7 bits, whose products are exact on every CPU.
        low_memory: whether to use the weights as they are in the mapped file. Such a session runs
            with `run_options(low_memory=True)`.
        profile: the beginning of the name of a profile, which the session's `end_profiling` writes;
            it returns the whole name. None profiles nothing.

    Raises:
        BundleError: ONNX Runtime cannot load the file.
        ProviderError: a provider did not start.
    """
    options = onnxruntime.SessionOptions()
    threads = threads or default_threads()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # failures are raised and need not be printed as well
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    products = exact_products(seven_bits=seven_bits) if int8 else {}
    for key, value in {**DEFAULTS, **config, **products}.items():
        options.add_session_config_entry(key, value)
    if low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    for name, choices in providers:
        # OpenVINO starts threads of its own; `_add_plugins` limits those of the plug-in.
        if name == PROVIDERS["openvino"][0] and name in built_in_providers():
            choices.setdefault("num_of_threads", str(threads))
        if name == PROVIDERS["cuda"][0]:
            choices.setdefault("use_tf32", "0")  # its ten bits would not be float32's answers
            _load_cuda_libraries()
    try:
        listed = _add_plugins(options, providers, device, threads)
        # An int8 graph has nodes that only the CPU runs, so that it cannot be captured.
        session = (_open if int8 else _open_capturing)(path, options, listed)
    except Exception as error:  # ONNX Runtime's errors have no common type of their own
        _raise_provider_error(path, providers, error)
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({error}).") from error
    for name, _ in providers:
        if name not in session.get_providers():
            raise ProviderError(f"{name} did not start; see ONNX Runtime's documentation of it.")
    nodes, wanted = nodes_by_provider(session), {name for name, _ in providers}
    if nodes and not nodes.keys() & wanted:  # as OpenVINO does for a device that it does not know
        raise ProviderError(
            f"{', '.join(wanted)} started but leaves all of {path.name} to {', '.join(nodes)}; "
            "check the options of the provider."
        )
    return session


def run_options(low_memory: bool) -> onnxruntime.RunOptions:
    """Return the options of a run; with `low_memory`, the run frees its memory when it ends."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    if low_memory:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def nodes_by_provider(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Return how many nodes of the graph each provider runs, counted before it fuses them.

    The result is empty where ONNX Runtime is older than 1.24, which does not report this.
    """
    nodes: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
    return dict(nodes)


def _add_plugins(
    options: onnxruntime.SessionOptions,
    providers: list[tuple[str, dict[str, Any]]],
    device: str | None,
    threads: int,
) -> list[tuple[str, dict[str, Any]]]:
    """Add the plug-ins among the providers to the options, and return the list for `_open`.

    With plug-ins, that list is empty, since a list would replace what the options say. ONNX Runtime
    gives the CPU what a plug-in does not take.
    """
    added = False
    for name, choices in providers:
        plugin = None if name in built_in_providers() else find_plugin(name)
        if plugin is None:
            continue
        chosen = plugin.choose(device)
        texts = {key: str(value) for key, value in choices.items()}
        if plugin.name == "openvino" and device_type(chosen) == "cpu":
            # It has no option for this, and would start a thread for each core.
            config = {"CPU": {"INFERENCE_NUM_THREADS": str(threads)}}
            texts.setdefault("load_config", json.dumps(config))
        options.add_provider_for_devices([chosen], texts)
        added = True
    return [] if added else providers


def _open(
    path: Path, options: onnxruntime.SessionOptions, providers: list[tuple[str, dict[str, Any]]]
) -> onnxruntime.InferenceSession:
    # Without enable_fallback=0, a provider that fails to start is silently replaced.
    return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)


def _open_capturing(
    path: Path, options: onnxruntime.SessionOptions, providers: list[tuple[str, dict[str, Any]]]
) -> onnxruntime.InferenceSession:
    """Return a session that captures CUDA graphs, if CUDA runs it and can capture its network.

    CUDA's own option `enable_cuda_graph`, where the user gives it, decides instead.
    """
    capturing = [
        (name, {"enable_cuda_graph": "1"} | choices if name == PROVIDERS["cuda"][0] else choices)
        for name, choices in providers
    ]
    if capturing != providers:
        with suppress(Exception):  # whatever else is wrong, the other attempt says it
            return _open(path, options, capturing)
    return _open(path, options, providers)


def _raise_provider_error(
    path: Path, providers: list[tuple[str, dict[str, Any]]], error: Exception
) -> None:
    """Raise ProviderError if the CPU can load the file, so that the provider is at fault."""
    name = providers[0][0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if providers == CPU:
        return
    try:
        _open(path, options, CPU)
    except Exception:
        return
    raise ProviderError(
        f"{name} did not start, or cannot run {path.name} ({error}); check its options, driver and "
        "libraries against ONNX Runtime's documentation of it, or use provider='cpu'."
    ) from error


@cache
def _load_cuda_libraries() -> None:
    """Load the libraries of CUDA that pip installed, where the system has none of its own."""
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21
        with redirect_stdout(StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()


@cache
def _bound_memory() -> None:
    """Limit the memory that all runs of this process take together.

    A graph decides how large its tensors become, and it may come from a stranger. Beyond this limit
    the run fails, and not the machine.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    bound = MAX_RUN_BYTES
    if hasattr(os, "sysconf"):  # not on Windows
        bound = min(bound, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # This fails where the application has registered an allocator, and so chosen a limit, before.
    with suppress(Exception):
        onnxruntime.create_and_register_allocator(
            memory, onnxruntime.OrtArenaCfg({"max_mem": bound})
        )
