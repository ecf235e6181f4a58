"""Checkpoint to verified bundle."""

from __future__ import annotations

import errno
import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import onnx_ir
import onnxruntime

from voxmood import VoxmoodError, load
from voxmood.bundle import (
    DESCRIPTION,
    Bundle,
    BundleFile,
    Precision,
    model_file,
    sha256,
)
from voxmood_export.bias import correct_bias, embedding_shift
from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.errors import ExportError, OutputExistsError
from voxmood_export.graph import export_graph
from voxmood_export.inference import Geometry, InferenceForm
from voxmood_export.quantize import GROUP_NORM_FRONT_END, quantize
from voxmood_export.verify import (
    Clips,
    check_contract,
    generated_clips,
    measure,
    recorded_clips,
    reference_logits,
)

PRECISIONS = ("fp32", "int8")
MAX_SECONDS = 60.0  # of one run; attention's memory grows by the square
EXTERNAL_DATA_BYTES = 64 << 20  # weights beyond this stand beside the graph, where they are mapped
ALIGNMENT = 64 << 10  # of external data, so that every platform can map it
TOOLS = ("voxmood", "torch", "transformers", "optimum-onnx", "onnx")


def export_bundle(
    source: str,
    output: Path,
    *,
    revision: str | None = None,
    precisions: Sequence[str] = PRECISIONS,
    audio: Path | None = None,
    max_clips: int = 20,
    force: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Bundle:
    """Exports a checkpoint, verifies every precision and writes the bundle, whole or not at all.

    Args:
        source: a checkpoint folder or a hub id.
        output: the bundle's folder, which must not exist yet.
        revision: branch, tag or commit of a hub id.
        precisions: some of `PRECISIONS`.
        audio: a folder of recordings to verify on; None takes generated signals.
        max_clips: how many recordings of it to use.
        force: replace an existing output, once the new one is verified.
        progress: called with the name of each step as it begins.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        OutputExistsError: the output exists and `force` is not set.
        VerificationError: a graph does not do what the checkpoint does.
        ExportError: the bundle cannot be written.
    """
    if output.exists() and not force:
        raise OutputExistsError(f"{output}: exists already; pass --force to replace it.")
    progress("load checkpoint")
    checkpoint = load_checkpoint(source, revision)
    rate = checkpoint.extractor.sampling_rate
    clips = recorded_clips(audio, rate, max_clips) if audio else generated_clips(rate)
    with _whole_or_not_at_all(output) as folder:
        return _write_bundle(checkpoint, clips, folder, precisions, progress)


def steps(precisions: Sequence[str]) -> int:
    """How often `progress` is called."""
    return 2 + 3 * len(precisions)


def _write_bundle(
    checkpoint: Checkpoint,
    clips: Clips,
    folder: Path,
    precisions: Sequence[str],
    progress: Callable[[str], None],
) -> Bundle:
    bundle = describe(checkpoint)
    progress("run original model")
    reference = list(reference_logits(checkpoint, clips))
    entries: dict[str, Precision] = {}
    for precision in precisions:
        path = folder / model_file(precision)
        progress(f"trace {precision} graph")
        int8 = precision == "int8"
        form = InferenceForm(
            checkpoint.model,
            do_normalize=checkpoint.extractor.do_normalize,
            batched=not int8,
        )
        graph = export_graph(form)
        progress(f"write {precision} graph")
        if int8:
            grouped = form.config.feat_extract_norm == "group"
            quantize(graph, two_terms=GROUP_NORM_FRONT_END if grouped else None)
            _write_graph(graph, path, bundle)
            correct_bias(graph, embedding_shift(path, form, clips.calibration))
        _write_graph(graph, path, bundle)
        del form, graph
        gc.collect()  # a graph's nodes hold each other, and with them all weights
        check_contract(path, precision, len(bundle.labels))
        files = {
            file.name: BundleFile(file.stat().st_size, sha256(file))
            for file in sorted(folder.glob(f"{path.name}*"))
        }

        progress(f"verify {precision}")
        # Loaded through the runtime, as a user will; its description is complete but for the
        # figures that this measures.
        entries[precision] = Precision(files)
        bundle = replace(bundle, precisions=dict(entries))
        (folder / DESCRIPTION).write_text(bundle.to_json(), encoding="utf-8")
        measured = measure(load(folder, precision=precision, verify=False), reference, clips)
        entries[precision] = Precision(files, measured)
    bundle = replace(bundle, precisions=entries)
    (folder / DESCRIPTION).write_text(bundle.to_json(), encoding="utf-8")
    return bundle


def describe(checkpoint: Checkpoint) -> Bundle:
    """What a bundle of this checkpoint says of itself, before any precision is made."""
    rate = checkpoint.extractor.sampling_rate
    return Bundle(
        name=checkpoint.name.rpartition("/")[2],
        labels=checkpoint.labels,
        sampling_rate=rate,
        normalisation="zero-mean-unit-variance" if checkpoint.extractor.do_normalize else "none",
        min_samples=Geometry(checkpoint.model.config).min_samples,
        max_samples=int(MAX_SECONDS * rate),
        architecture=checkpoint.model.config.model_type,
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        licence=checkpoint.licence,
        tools={tool: version(tool) for tool in TOOLS}
        | {"onnxruntime": onnxruntime.__version__},  # whose distribution has a name per flavour
        session_options={},
        precisions={},
    )


def _write_graph(model: onnx_ir.Model, path: Path, bundle: Bundle) -> None:
    """Writes a graph with its metadata and, where its weights are large, external data."""
    model.metadata_props.update(bundle.metadata())
    model.graph.name = bundle.name
    model.doc_string = f"{bundle.name}: speech emotion recognition, made by voxmood"
    tensors = [value.const_value for value in model.graph.initializers.values()]
    weights = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    external = f"{path.name}.data" if weights > EXTERNAL_DATA_BYTES else None
    onnx_ir.save(model, path, external_data=external, alignment=ALIGNMENT)


@contextmanager
def _whole_or_not_at_all(output: Path) -> Iterator[Path]:
    """A temporary folder beside the output, renamed to it at the end, deleted on any error."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        folder = temporary / "bundle"
        folder.mkdir()
        yield folder
        if output.exists():
            output.rename(temporary / "replaced")
        folder.rename(output)
    except VoxmoodError:
        raise
    except Exception as error:
        full = shutil.disk_usage(output.parent).free < 1 << 20 or (
            isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        )
        if full:
            raise ExportError(
                f"{output}: the disk is full; nothing was written. Exporting needs about three "
                "times the checkpoint's size there."
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
