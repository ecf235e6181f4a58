"""The export of a checkpoint to a verified bundle."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

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
from voxmood.engine.int8_probe import products_saturate
from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.clips import Clips, recorded_clips, synthetic_clips
from voxmood_export.contract import check_contract
from voxmood_export.errors import BoundsError, VerificationError
from voxmood_export.graph import export_graph, has_optimum, write_graph
from voxmood_export.int8.quantizer import Quantizer
from voxmood_export.int8.sensitivity import fewest_in_float
from voxmood_export.network.inference_form import Geometry, InferenceForm
from voxmood_export.output import check_bundle_output, whole_or_not_at_all
from voxmood_export.verify import Bounds, PlainInt8, Verification, reference_logits, verify

DEFAULT_PRECISIONS = ("fp32", "int8")
MAX_SECONDS = 60.0  # of one run; the memory of attention grows with its square
NO_BOUNDS = Bounds()
Progress: TypeAlias = Callable[[str], None]
TOOLS = ("voxmood", "torch", "transformers", "onnx")
OPTIMUM = ("optimum-onnx",)


def export_bundle(
    source: str | Path,
    output: str | Path,
    *,
    revision: str | None = None,
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    audio: str | Path | None = None,
    max_clips: int = 20,
    weight_only: bool = False,
    weight_bits: int = 8,
    bounds: Bounds = NO_BOUNDS,
    labels: Mapping[str, str] | None = None,
    force: bool = False,
    progress: Progress = lambda step: None,
    warn: Progress = lambda reason: None,
) -> Bundle:
    """Export a checkpoint, verify every precision and write the bundle as a whole or not at all.

        import voxmood, voxmood_export
        voxmood_export.export_bundle("checkpoint", "bundle", audio="folder")
        voxmood.load("bundle").predict("clip.wav")

    Args:
        source: a checkpoint folder or a hub id.
        output: the bundle's folder, which must not be the checkpoint or hold it.
        revision: branch, tag or commit of a hub id.
        precisions: which precisions to write, some of "fp32", "fp16" and "int8".
        audio: a folder of recordings to verify on, and to calibrate int8 on. None takes synthetic
            speech for both.
        max_clips: the largest number of these recordings to verify on. Int8 is calibrated on up to
            16 others, half of the recordings if they are few, and on synthetic speech.
        weight_only: whether int8 stores the weights alone in 8 bits and computes in float: nearly
            fp32's answers at fp32's speed and a quarter of its size.
        weight_bits: the bits of int8's weights, 7 or 8. With 7, int8 is faster on x86 CPUs without
            VNNI, and less exact.
        bounds: what every precision must keep on the clips. Int8 keeps linear layers in float for
            it, as few as are enough.
        labels: another name for each of the checkpoint's labels. None keeps them.
        force: whether a bundle that already exists is replaced once the new one is verified.
            Nothing but a bundle is ever replaced.
        progress: called with the name of each step when the step begins.
        warn: called with a sentence for each recording that is not used.

    Returns:
        The description of the bundle.

    Raises:
        CheckpointError: the checkpoint is not found, damaged or not supported.
        MissingFileError: the folder of recordings is missing.
        AudioError: the folder holds no recordings, or none that can be read.
        OutputExistsError: the output already exists, and is not a bundle or `force` is not set.
        OutputError: the output is an input or the current folder, or cannot be made.
        VerificationError: a graph does not compute what the checkpoint does, or misses its bounds.
        ExportError: the bundle cannot be written.
    """
    source, output = str(source), Path(output)
    audio = None if audio is None else Path(audio)
    check_bundle_output(output, source, audio, force=force)
    progress("load checkpoint")
    checkpoint = load_checkpoint(source, revision, labels)
    rate = checkpoint.extractor.sampling_rate
    clips = recorded_clips(audio, rate, max_clips) if audio else synthetic_clips(rate)
    for reason in clips.left_out:
        warn(reason)
    with whole_or_not_at_all(output, force=force) as folder:
        writer = _Writer(checkpoint, clips, bounds, folder, progress)
        for precision in precisions:
            if precision == "int8":
                writer.write_int8(weight_only=weight_only, weight_bits=weight_bits)
            else:
                writer.write_float(precision)
        return writer.bundle


def steps(precisions: Sequence[str]) -> int:
    """Return how often `progress` is called, unless bounds ask for more."""
    return 2 + 2 * len(precisions)


class _Writer:
    """Write the precisions of one checkpoint into a folder, and verify each of them."""

    def __init__(
        self, checkpoint: Checkpoint, clips: Clips, bounds: Bounds, folder: Path, progress: Progress
    ) -> None:
        self.checkpoint, self.clips, self.bounds = checkpoint, clips, bounds
        self.folder, self.progress = folder, progress
        self.bundle = describe(checkpoint)
        progress("run original model")
        self.reference = list(reference_logits(checkpoint, clips.waveforms))

    def write_float(self, precision: str) -> None:
        """Write fp32 or fp16."""
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
        verification, missed = self._verify(precision)
        if missed:
            raise _not_met(precision, missed)
        self._add_measured(precision, verification)

    def write_int8(self, *, weight_only: bool, weight_bits: int) -> None:
        """Write int8, with as few linear layers in float as its bounds ask for."""
        self.progress("make int8 graph")
        quantizer = Quantizer(
            self.checkpoint,
            self.clips.calibration,
            weight_only=weight_only,
            weight_bits=weight_bits,
        )

        def attempt(in_float: list[str]) -> tuple[Verification, list[Measure]]:
            quantizer.write(self.folder / model_file("int8"), self.bundle, in_float)
            verification, missed = self._verify("int8")
            verification = replace(
                verification,
                tuned_on=self.clips.tuned_on,
                weight_only=weight_only or None,
                seven_bits=weight_bits == 7 or None,
                products_saturate=products_saturate() or None,
                outliers=quantizer.outliers,
            )
            return verification, missed

        verification, missed = attempt([])
        if missed:
            plain = PlainInt8(
                bytes=self.bundle.precisions["int8"].bytes,
                real_time_factor=verification.real_time_factor,
                sqnr_db=verification.sqnr_db,
                max_probability_drift=verification.max_probability_drift,
                label_agreement=verification.label_agreement,
                ccc=verification.ccc,
            )
            self.progress("measure sensitivity of layers")
            kept = fewest_in_float(quantizer.sensitivity(), lambda names: not attempt(names)[1])
            verification, missed = attempt(kept)
            if missed:
                raise _not_met(f"int8, even with {len(kept)} layers in float,", missed)
            verification = replace(verification, without=plain, in_float=kept)
        self._add_measured("int8", verification)

    def _verify(self, precision: str) -> tuple[Verification, list[Measure]]:
        """Verify a precision whose graph is written; return the measures that miss their bounds."""
        self.progress(f"verify {precision}")
        path = self.folder / model_file(precision)
        check_contract(path, precision, len(self.bundle.labels), self.bundle.task)
        files = {
            file.name: BundleFile(file.stat().st_size, sha256(file))
            for file in sorted(self.folder.glob(f"{path.name}*"))
        }
        # Loaded through the runtime, as a user will; its description is complete but for the
        # figures that this measures.
        self._describe(precision, Precision(files))
        try:
            model = load(self.folder, precision=precision, verify=False)
            return verify(model, self.reference, self.clips, self.bounds)
        except BundleError as error:
            raise VerificationError(
                f"{precision}: the runtime refuses the exported model ({error}) "
                "Nothing was written."
            ) from error

    def _add_measured(self, precision: str, verification: Verification) -> None:
        entry = self.bundle.precisions[precision]
        self._describe(precision, replace(entry, measured=verification.to_json()))

    def _describe(self, precision: str, entry: Precision) -> None:
        entries = {**self.bundle.precisions, precision: entry}
        self.bundle = replace(self.bundle, precisions=entries)
        (self.folder / DESCRIPTION).write_bytes(self.bundle.to_json().encode())


def _not_met(what: str, missed: Sequence[Measure]) -> BoundsError:
    complaints = "; ".join(f"{measure.name} {measure.complaint()}" for measure in missed)
    return BoundsError(f"{what} misses its bounds: {complaints}. Nothing was written.")


def describe(checkpoint: Checkpoint) -> Bundle:
    """Return the description of a checkpoint's bundle, before any precision is made."""
    rate = checkpoint.extractor.sampling_rate
    return Bundle(
        name=checkpoint.name.rpartition("/")[2],
        labels=checkpoint.labels,
        task=checkpoint.model.task,
        sampling_rate=rate,
        normalization=_normalization(checkpoint),
        min_samples=Geometry(checkpoint.model.config).min_samples,
        max_samples=int(MAX_SECONDS * rate),
        architecture=checkpoint.model.config.model_type,
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        license=checkpoint.license,
        tools={tool: version(tool) for tool in TOOLS + OPTIMUM * has_optimum()}
        | {"onnxruntime": onnxruntime.__version__},  # whose distribution has a name per flavor
        session_options={},
        precisions={},
        original_labels=checkpoint.original_labels,
        license_text=checkpoint.license_text,
    )


def _normalization(checkpoint: Checkpoint) -> str:
    if checkpoint.extractor.do_normalize:
        return "zero-mean-unit-variance"
    return "constant" if checkpoint.model.head.scaling() else "none"
