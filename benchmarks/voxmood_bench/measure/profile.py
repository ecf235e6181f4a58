"""Where the time of one run of a bundle goes, by operator and by part of the network."""

from __future__ import annotations

import onnxruntime

from voxmood.bundle.description import DESCRIPTION, read_bundle
from voxmood.bundle.locate import locate
from voxmood.engine.precision import choose_precision
from voxmood.engine.threads import default_threads
from voxmood_bench.engines.profiler import PARTS, REST, profile
from voxmood_bench.measure.machine import machine
from voxmood_bench.report.schema import TimeProfile
from voxmood_export.clips import speech_like

VERSION = 1


def profile_bundle(
    source: str | None, precision: str = "auto", *, seconds: float, threads: int | None
) -> TimeProfile:
    """Return where the time goes when a bundle runs on generated speech.

    Args:
        source: the bundle, as `voxmood.load` takes it.
        precision: one that the bundle has, or `auto`.
        seconds: the length of the audio.
        threads: None takes as many as `voxmood.load` does.

    Raises:
        VoxmoodError: the bundle is missing or cannot be read.
    """
    location = locate(source, precision)
    folder = location.fetch([DESCRIPTION])
    bundle = read_bundle(folder)
    precision = choose_precision(bundle, location.precision, "CPUExecutionProvider")
    location.fetch(bundle.precisions[precision].files)
    waveform = speech_like(seconds, bundle.sampling_rate, seed=0)
    result = profile(folder, precision, waveform, threads=threads)
    parts, operators = result.by(lambda node: node.part), result.by(lambda node: node.operator)
    return TimeProfile(
        version=VERSION,
        bundle=bundle.name,
        precision=precision,
        seconds=seconds,
        threads=threads or default_threads(),
        machine=machine(),
        onnxruntime=onnxruntime.__version__,
        milliseconds=round(result.milliseconds, 3),
        between_nodes=round(result.milliseconds - sum(parts.values()), 3),
        parts={name: round(parts.get(name, 0.0), 3) for name in (*PARTS, REST)},
        operators={name: round(value, 3) for name, value in operators.items()},
    )
