"""The graph's contract, which every graph is checked against before it goes into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from voxmood.bundle.description import OUTPUTS
from voxmood_export.errors import AxesError, NamesError


def check_contract(path: Path, precision: str, labels: int, task: str = "classification") -> None:
    """Check the names and axes of a graph's inputs and outputs.

    Args:
        path: the ONNX file.
        precision: "fp32" or "fp16", whose graphs take any batch, or "int8", which takes one clip.
        labels: the number of labels.
        task: what the model does, one of `voxmood.bundle.description.OUTPUTS`.

    Raises:
        NamesError: the inputs or outputs have other names than the contract says.
        AxesError: an axis is free that the contract fixes, or the other way round.
    """
    graph = onnx.load(path, load_external_data=False).graph
    batch: Any = 1 if precision == "int8" else "batch"
    expected = {
        "waveform": [batch, "samples"],
        "lengths": [batch],
        **{name: [batch, labels] for name in OUTPUTS[task]},
        "embedding": [batch, None],  # None: any fixed width
    }
    found = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    if list(found) != list(expected):
        raise NamesError(f"{path.name}: has {', '.join(found)}; expected {', '.join(expected)}.")
    for name, axes in expected.items():
        fits = len(found[name]) == len(axes) and all(
            isinstance(axis, int) if wanted is None else axis == wanted
            for axis, wanted in zip(found[name], axes, strict=True)
        )
        if not fits:
            raise AxesError(f"{path.name}: {name} is {found[name]}; expected {axes}.")
