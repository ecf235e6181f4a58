"""Checkpoint to verified bundle."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import onnxruntime

from voxmood import BundleError, load
from voxmood.bundle.description import (
    DESCRIPTION,
    Bundle,
    BundleFile,
    Precision,
    model_file,
    sha256,
)
from voxmood.comparison.bounds import Measure
from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.errors import BoundsError, VerificationError
from voxmood_export.graph import export_graph, write_graph
from voxmood_export.inference import Geometry, InferenceForm
from voxmood_export.int8 import Int8, fewest
from voxmood_export.output import check_bundle_output, whole_or_not_at_all
from voxmood_export.verify import (
    Bounds,
    Clips,
    check_contract,
    generated_clips,
    measure,
    recorded_clips,
    reference_logits,
)

PRECISIONS = ("fp32", "fp16", "int8")
DEFAULT_PRECISIONS = ("fp32", "int8")
COMPARED = ("real_time_factor", "sqnr_db", "max_probability_drift", "label_agreement")
"""What is told of int8 before and after products are kept in float."""

MAX_SECONDS = 60.0  # of one run; attention's memory grows by the square
NO_BOUNDS = Bounds()
Progress: TypeAlias = Callable[[str], None]
TOOLS = ("voxmood", "torch", "transformers", "optimum-onnx", "onnx")


def export_bundle(
    source: str,
    output: Path,
    *,
    revision: str | None = None,
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    audio: Path | None = None,
    max_clips: int = 20,
    bounds: Bounds = NO_BOUNDS,
    force: bool = False,
    progress: Progress = lambda step: None,
) -> Bundle:
    """Exports a checkpoint, verifies every precision and writes the bundle, whole or not at all.

    Args:
        source: a checkpoint folder or a hub id.
        output: the bundle's folder; neither it nor the checkpoint may lie in the other.
        revision: branch, tag or commit of a hub id.
        precisions: some of `PRECISIONS`.
        audio: a folder of recordings to verify on; None takes generated signals.
        max_clips: how many recordings of it to use.
        bounds: what every precision must keep on them; int8 keeps products in float for it.
        force: replace a bundle that is there, once the new one is verified; never anything else.
        progress: called with the name of each step as it begins.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        OutputExistsError: the output exists, and is no bundle or `force` is not set.
        OutputError: the output is an input or the current folder, or cannot be made.
        VerificationError: a graph does not do what the checkpoint does, or misses the bounds.
        ExportError: the bundle cannot be written.
    """
    check_bundle_output(output, source, audio, force=force)
    progress("load checkpoint")
    checkpoint = load_checkpoint(source, revision)
    rate = checkpoint.extractor.sampling_rate
    clips = recorded_clips(audio, rate, max_clips) if audio else generated_clips(rate)
    with whole_or_not_at_all(output, force=force) as folder:
        writer = _Writer(checkpoint, clips, bounds, folder, progress)
        for precision in precisions:
            writer.write_int8() if precision == "int8" else writer.write_float(precision)
        return writer.bundle


def steps(precisions: Sequence[str]) -> int:
    """How often `progress` is called, unless bounds ask for more."""
    return 2 + 2 * len(precisions)


class _Writer:
    """Writes the precisions of one checkpoint into a folder, each verified as it is made."""

    def __init__(
        self, checkpoint: Checkpoint, clips: Clips, bounds: Bounds, folder: Path, progress: Progress
    ) -> None:
        self.checkpoint, self.clips, self.bounds = checkpoint, clips, bounds
        self.folder, self.progress = folder, progress
        self.bundle = describe(checkpoint)
        progress("run original model")
        self.reference = list(reference_logits(checkpoint, clips))

    def write_float(self, precision: str) -> None:
        """fp32 or fp16."""
        self.progress(f"make {precision} graph")
        form = InferenceForm(
            self.checkpoint.model,
            do_normalize=self.checkpoint.extractor.do_normalize,
            batched=True,
            half=precision == "fp16",
        )
        write_graph(export_graph(form), self.folder / model_file(precision), self.bundle)
        del form
        gc.collect()  # a graph's nodes hold each other, and with them all weights
        if missed := self._verify(precision):
            raise _not_met(precision, missed)

    def write_int8(self) -> None:
        """int8, with the fewest products in float where it misses the bounds without."""
        self.progress("make int8 graph")
        int8 = Int8(self.checkpoint, self.clips)
        path = self.folder / model_file("int8")
        facts: dict[str, Any] = {"outliers": [asdict(each) for each in int8.outliers]}

        def missed(in_float: Sequence[str]) -> list[Measure]:
            int8.write(path, self.bundle, in_float)
            return self._verify("int8", facts)

        if missed([]):
            plain = self.bundle.precisions["int8"]
            facts["without"] = {"bytes": plain.bytes} | {
                key: plain.measured[key] for key in COMPARED
            }
            self.progress("measure products alone")
            facts["in_float"] = kept = fewest(int8.harm(), lambda names: not missed(names))
            if left := missed(kept):
                raise _not_met(f"int8, even with {len(kept)} products in float,", left)

    def _verify(self, precision: str, facts: Mapping[str, Any] | None = None) -> list[Measure]:
        """Describes a precision whose graph is written and measures it; returns missed bounds."""
        self.progress(f"verify {precision}")
        path = self.folder / model_file(precision)
        check_contract(path, precision, len(self.bundle.labels))
        files = {
            file.name: BundleFile(file.stat().st_size, sha256(file))
            for file in sorted(self.folder.glob(f"{path.name}*"))
        }
        # Loaded through the runtime, as a user will; its description is complete but for the
        # figures that this measures.
        self._describe(precision, Precision(files))
        try:
            model = load(self.folder, precision=precision, verify=False)
            measured, missed = measure(model, self.reference, self.clips, self.bounds)
        except BundleError as error:
            raise VerificationError(
                f"{precision}: the runtime refuses what came of the checkpoint ({error}) "
                "Nothing was written."
            ) from error
        self._describe(precision, Precision(files, measured | dict(facts or {})))
        return missed

    def _describe(self, precision: str, entry: Precision) -> None:
        entries = {**self.bundle.precisions, precision: entry}
        self.bundle = replace(self.bundle, precisions=entries)
        (self.folder / DESCRIPTION).write_text(self.bundle.to_json(), encoding="utf-8")


def _not_met(what: str, missed: Sequence[Measure]) -> BoundsError:
    complaints = "; ".join(f"{measure.name} {measure.complaint()}" for measure in missed)
    return BoundsError(f"{what} misses its bounds: {complaints}. Nothing was written.")


def describe(checkpoint: Checkpoint) -> Bundle:
    """What a bundle of this checkpoint says of itself, before any precision is made."""
    rate = checkpoint.extractor.sampling_rate
    return Bundle(
        name=checkpoint.name.rpartition("/")[2],
        labels=checkpoint.labels,
        sampling_rate=rate,
        normalization="zero-mean-unit-variance" if checkpoint.extractor.do_normalize else "none",
        min_samples=Geometry(checkpoint.model.config).min_samples,
        max_samples=int(MAX_SECONDS * rate),
        architecture=checkpoint.model.config.model_type,
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        license=checkpoint.licence,
        tools={tool: version(tool) for tool in TOOLS}
        | {"onnxruntime": onnxruntime.__version__},  # whose distribution has a name per flavour
        session_options={},
        precisions={},
    )
