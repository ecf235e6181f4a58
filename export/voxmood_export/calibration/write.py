"""A bundle with a new calibration, written whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir

from voxmood import load
from voxmood.bundle.calibration import Calibration
from voxmood.bundle.description import (
    DESCRIPTION,
    SCHEMA,
    Bundle,
    BundleFile,
    Precision,
    model_file,
    read_bundle,
    sha256,
)
from voxmood_export.calibration.fit import probabilities_of
from voxmood_export.calibration.scaling import set_affine, set_temperature
from voxmood_export.clips import speech_like
from voxmood_export.errors import VerificationError
from voxmood_export.output import whole_or_not_at_all

MAX_ERROR = 1e-5  # of a probability, or of a value in relation to the largest one


def write_calibrated(
    source: Path, output: Path, calibration: Calibration, *, force: bool = False
) -> Bundle:
    """Write a bundle with the graphs of another one and a new calibration, and verify it.

    Args:
        source: the folder of the other bundle, which keeps what it has.
        output: the folder of the new bundle.
        calibration: the calibration, which takes the place of that of the other bundle.
        force: whether a bundle that already exists is replaced.

    Returns:
        The description of the new bundle.

    Raises:
        BundleError: the other bundle is damaged.
        OutputExistsError: the output already exists, and is not a bundle or `force` is not set.
        VerificationError: a graph of the new bundle does not compute what it should.
        ExportError: the bundle cannot be written.
    """
    old = read_bundle(source)
    with whole_or_not_at_all(output, force=force) as folder:
        new = _write(source, folder, old, calibration)
        _verify(source, folder, old, new)
        return new


def _write(source: Path, folder: Path, bundle: Bundle, calibration: Calibration) -> Bundle:
    """Write a bundle with the graphs of another one, and return its description."""
    bundle = replace(bundle, schema=SCHEMA, calibration=calibration)
    precisions: dict[str, Precision] = {}
    for name, entry in bundle.precisions.items():
        graph = model_file(name)
        model = onnx_ir.load(source / graph)
        if bundle.task == "regression":
            set_affine(model.graph, calibration.scales, calibration.offsets)
        else:
            set_temperature(model.graph, calibration.temperature)
        model.metadata_props.update(bundle.metadata())
        onnx_ir.save(model, folder / graph)  # external data keeps its file, which is copied
        for file in entry.files:
            if file != graph:
                shutil.copyfile(source / file, folder / file)
        written = BundleFile((folder / graph).stat().st_size, sha256(folder / graph))
        precisions[name] = replace(entry, files={**entry.files, graph: written})
    bundle = replace(bundle, precisions=precisions)
    (folder / DESCRIPTION).write_bytes(bundle.to_json().encode())
    return bundle


def _verify(source: Path, folder: Path, old: Bundle, new: Bundle) -> None:
    """Check that every graph answers as before, apart from what was calibrated.

    Raises:
        VerificationError: a graph does not.
    """
    rate = new.sampling_rate
    clip = speech_like(max(1.0, new.min_samples / rate), rate, 0)
    for name in new.precisions:
        before, after = (
            load(place, precision=name, verify=False, low_memory=True).predict(
                clip, sampling_rate=rate
            )
            for place in (source, folder)
        )
        logits = before.logits.astype(np.float64)
        same = np.array_equal(before.embedding, after.embedding)
        if new.task == "regression":
            assert new.calibration is not None
            if old.calibration:
                logits = (logits - old.calibration.offsets) / old.calibration.scales
            expected = logits * new.calibration.scales + new.calibration.offsets
        else:
            same = same and np.array_equal(before.logits, after.logits)
            several = new.task == "multilabel"
            expected = probabilities_of(logits[np.newaxis], new.temperature, several)[0]
        error = np.abs(np.array(list(after.numbers.values())) - expected).max()
        if not same or error > MAX_ERROR * max(1.0, np.abs(expected).max()):
            raise VerificationError(
                f"{name}: the calibrated graph does not answer as the one before, apart from the "
                f"calibration (an answer is off by {error:.2e}). Nothing was written."
            )
