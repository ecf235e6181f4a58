"""Runs on CUDA, as far as they can be shown without a GPU: which options a session is opened with,
and that a run by CUDA graphs, here carried out on the CPU, has the answers of a plain run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from near import NETWORK, near

import voxmood
from voxmood.bundle.description import OUTPUTS
from voxmood.engine import session
from voxmood.engine.cuda_graphs import CudaGraphs, captures_graphs

RATE = 16000
CUDA = "CUDAExecutionProvider"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the options with which CUDA is opened; what opens is a session on the CPU."""
    options_of_cuda: list[dict[str, str]] = []
    open_session = session._open

    def open_on_the_cpu(path: Path, options: Any, providers: Any) -> Any:
        options_of_cuda.append(providers[0][1])
        cpu = open_session(path, options, session.CPU)
        monkeypatch.setattr(cpu, "get_providers", lambda: [CUDA])
        return cpu

    monkeypatch.setattr(session, "_open", open_on_the_cpu)
    monkeypatch.setattr(session, "nodes_by_provider", lambda session: {})
    return options_of_cuda


def create(bundle: Path, precision: str, options: dict[str, str]) -> onnxruntime.InferenceSession:
    return session.create_session(
        bundle / f"model.{precision}.onnx",
        providers=[(CUDA, options)],
        threads=1,
        config={},
        int8=precision == "int8",
    )


@pytest.mark.parametrize(
    ("precision", "asked", "used"),
    [
        ("fp32", {}, {"use_tf32": "0", "enable_cuda_graph": "1"}),
        ("fp32", {"use_tf32": "1"}, {"use_tf32": "1", "enable_cuda_graph": "1"}),
        ("fp32", {"enable_cuda_graph": "0"}, {"use_tf32": "0", "enable_cuda_graph": "0"}),
        ("int8", {}, {"use_tf32": "0"}),
    ],
)
def test_cuda_computes_in_whole_float32_and_captures_graphs_unless_told_otherwise(
    bundle: Path,
    opened: list[dict[str, str]],
    precision: str,
    asked: dict[str, str],
    used: dict[str, str],
) -> None:
    create(bundle, precision, dict(asked))
    assert opened == [used]


def test_a_network_that_cannot_be_captured_runs_without(
    bundle: Path, opened: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_on_the_cpu = session._open

    def refuse(path: Path, options: Any, providers: Any) -> Any:
        if "enable_cuda_graph" in providers[0][1]:
            raise RuntimeError("This session cannot use the graph capture feature")
        return open_on_the_cpu(path, options, providers)

    monkeypatch.setattr(session, "_open", refuse)
    assert not captures_graphs(create(bundle, "fp32", {}))
    assert opened == [{"use_tf32": "0"}]
    with pytest.raises(voxmood.ProviderError, match="cannot use the graph capture feature"):
        create(bundle, "fp32", {"enable_cuda_graph": "1"})


def noise(samples: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(samples)
    return random.normal(0, 0.1, (1, samples)).astype(np.float32)


@pytest.mark.parametrize("fixture", ["bundle", "values"])
def test_a_run_by_graphs_has_the_answers_of_a_plain_run(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(fixture)
    names = OUTPUTS[voxmood.load(folder).bundle.task]
    plain = session.create_session(
        folder / "model.fp32.onnx", providers=session.CPU, threads=1, config={}, int8=False
    )
    graphs = CudaGraphs(plain, names, RATE, "cpu")
    prepared: list[int] = []
    prepare: Callable[..., Any] = graphs._prepare

    def prepare_once(*given: Any) -> Any:
        prepared.append(given[2])
        return prepare(*given)

    monkeypatch.setattr(graphs, "_prepare", prepare_once)

    def check(samples: int) -> None:
        lengths = np.array([samples])
        expected = plain.run(names, {"waveform": noise(samples), "lengths": lengths})
        found = graphs.run(noise(samples), lengths)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert one == near(other, NETWORK)

    sizes = [900, 2 * RATE, 2 * RATE + 1, 1700, 3 * RATE - 1, RATE, RATE + 1]
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(check, sizes * 3):
            pass
    assert sorted(prepared) == [1, 2, 3], "one graph for each number of whole seconds"
    check(31 * RATE)
    assert sorted(prepared) == [1, 2, 3], "no graph beyond 30 s"

    batch, lengths = np.zeros((2, 2000), np.float32), np.array([2000, 1000])
    batch[0], batch[1, :1000] = noise(2000), noise(1000)
    expected = plain.run(names, {"waveform": batch, "lengths": lengths})
    for one, other in zip(graphs.run(batch, lengths), expected, strict=True):
        assert one == near(other, NETWORK)
