"""CUDA graphs: all kernels of a run, recorded once and then launched together.

On a fast GPU, launching the thousand kernels of a large network one by one takes longer than
running them. ONNX Runtime records a run as a CUDA graph and replays it, if shapes and addresses
stay the same: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from voxmood.engine.ort import onnxruntime
from voxmood.engine.providers import PROVIDERS
from voxmood.engine.session import run_options

LONGEST_SECONDS = 30  # there is a graph for each whole second up to this


def captures_graphs(session: onnxruntime.InferenceSession) -> bool:
    """Return whether a session was opened to capture CUDA graphs."""
    options = session.get_provider_options().get(PROVIDERS["cuda"][0], {})
    return bool(options.get("enable_cuda_graph") == "1")


@dataclass(frozen=True)
class _Captured:
    """Hold what a run by the graph for one length needs; its tensors are in the GPU's memory."""

    waveform: Any  # float32 [1, samples]
    lengths: Any  # int64 [1]
    outputs: Sequence[Any]
    binding: Any
    options: onnxruntime.RunOptions


class CudaGraphs:
    """Run single clips of a session by CUDA graphs, one for each whole second of length.

    A clip is padded with zeros to whole seconds. This does not change its answer, since the graph
    masks what lies beyond `lengths`. Batches, and clips of more than 30 s, run kernel by kernel.
    Several threads may share an object; their runs take turns.

    Args:
        session: a session for which `captures_graphs` holds.
        outputs: the names of the outputs to return, each of which is [clips, numbers].
        rate: the sampling rate of the waveform, in Hz.
        device: where the session's tensors are: ONNX Runtime's name of the type of device.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[str],
        rate: int,
        device: str = "cuda",
    ) -> None:
        self._session = session
        self._widths = {each.name: each.shape[1] for each in session.get_outputs()}
        self._outputs = outputs
        self._rate = rate
        options = session.get_provider_options().get(PROVIDERS["cuda"][0], {})
        self._device = device, int(options.get("device_id", 0))
        self._captured: dict[int, _Captured] = {}  # by the length of the waveform, in seconds
        self._lock = Lock()

    def run(
        self, waveform: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.float32]]:
        """Return the outputs, each float32 [clips, numbers].

        Args:
            waveform: the clips, float32 [clips, samples].
            lengths: the length of each clip in samples, int64 [clips].
        """
        clips, samples = waveform.shape
        seconds = -(-samples // self._rate)
        with self._lock:
            if clips > 1 or seconds > LONGEST_SECONDS:
                outputs: list[npt.NDArray[np.float32]] = self._session.run(
                    self._outputs, {"waveform": waveform, "lengths": lengths}, _options(-1)
                )
                return outputs
            padded = np.zeros((1, seconds * self._rate), np.float32)
            padded[:, :samples] = waveform
            if seconds not in self._captured:
                self._captured[seconds] = self._prepare(padded, lengths, seconds)
            captured = self._captured[seconds]
            captured.waveform.update_inplace(padded)
            captured.lengths.update_inplace(lengths)
            self._session.run_with_iobinding(captured.binding, captured.options)
            # On a CPU, what `numpy` returns would be the tensor itself, which the next run changes.
            return [each.numpy().copy() for each in captured.outputs]

    def _prepare(
        self, waveform: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64], number: int
    ) -> _Captured:
        """Return tensors on the device; the first run with them captures the graph."""
        value = onnxruntime.OrtValue
        inputs = {
            "waveform": value.ortvalue_from_numpy(waveform, *self._device),
            "lengths": value.ortvalue_from_numpy(lengths, *self._device),
        }
        outputs = [
            value.ortvalue_from_shape_and_type([1, self._widths[name]], np.float32, *self._device)
            for name in self._outputs
        ]
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, tensor)
        for name, tensor in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(name, tensor)
        return _Captured(inputs["waveform"], inputs["lengths"], outputs, binding, _options(number))


def _options(graph: int) -> onnxruntime.RunOptions:
    """Return the options of a run that captures or replays a graph; -1 is none."""
    options = run_options(low_memory=False)
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
