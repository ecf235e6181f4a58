"""Checkpoint to bundle: what is written, and what happens when it cannot be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import soundfile
from near import FLOAT16, NETWORK_DB, near, terms
from safetensors.torch import load_file
from transformers4 import Transformers4

import voxmood
from voxmood.cli import main
from voxmood_export import (
    AxesError,
    BoundsError,
    CheckpointError,
    ExportError,
    LogitsError,
    NamesError,
    OutputExistsError,
    ShapesError,
    export_bundle,
)
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips, synthetic_clips
from voxmood_export.contract import check_contract
from voxmood_export.verify import Bounds, reference_logits, verify


def test_the_bundle_says_what_it_is(bundle: Path) -> None:
    description = json.loads((bundle / "bundle.json").read_text())
    assert (description["schema"], description["task"]) == (2, "classification")
    assert description["name"] == description["checkpoint"] == "checkpoint"
    assert description["normalisation"] == "zero-mean-unit-variance"
    assert (description["min_samples"], description["licence"]) == (400, "apache-2.0")
    for precision in ("fp32", "int8"):
        measured = description["precisions"][precision]["measured"]
        assert measured["sqnr_db"] > (NETWORK_DB if precision == "fp32" else 12)
        graph = onnx.load(bundle / f"model.{precision}.onnx")
        properties = {entry.key: entry.value for entry in graph.metadata_props}
        assert json.loads(properties["voxmood.labels"]) == ["neu", "hap", "ang", "sad"]
        assert properties["voxmood.sampling_rate"] == "16000"
        assert 18 <= next(o.version for o in graph.opset_import if not o.domain) <= 20
        assert graph.ir_version <= 10
        domains = {node.domain for node in graph.graph.node}
        assert domains == ({""} if precision == "fp32" else {"", "com.microsoft"})


def test_same_logits_as_transformers_on_recordings(
    bundle: Path, checkpoint: Path, emodb: list[Path]
) -> None:
    import librosa

    loaded, original = load_checkpoint(str(checkpoint)), Transformers4(checkpoint)
    model = voxmood.load(bundle, precision="fp32")
    for path in emodb:
        waveform, _ = librosa.load(path, sr=16000, mono=True)
        inputs = loaded.extractor(waveform, sampling_rate=16000, return_tensors="pt")
        expected = original(inputs.input_values)[0].numpy()
        assert model.predict(path).logits == near(expected)


def test_command_line(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "a.wav", np.random.default_rng(0).normal(0, 0.1, 30000), 16000)
    output, report = tmp_path / "deep" / "bundle", tmp_path / "report.json"
    command = ["export", str(checkpoint), str(output), "--precisions", "int8"]
    assert main([*command, "--audio", str(audio), "--json", str(report)]) == 0
    captured = capfd.readouterr()
    # Later steps have a line only if they take long.
    assert captured.err.startswith("voxmood: load checkpoint\n")
    assert "1 recording of the folder audio" in captured.out
    assert report.read_text() == (output / "bundle.json").read_text()
    assert [path.name for path in output.iterdir() if "fp32" in path.name] == []
    assert main(command) == 1
    assert "pass --force" in capfd.readouterr().err


def test_force_replaces_a_bundle(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    output = shutil.copytree(bundle, tmp_path / "bundle")
    with pytest.raises(OutputExistsError, match="--force") as caught:
        export_bundle(str(checkpoint), output)
    assert isinstance(caught.value, FileExistsError)
    with pytest.raises(CheckpointError):
        export_bundle(str(tmp_path / "gone"), output, force=True)
    assert (output / "model.fp32.onnx").exists()
    export_bundle(str(checkpoint), output, precisions=["int8"], force=True)
    assert {path.name for path in output.iterdir()} == {"bundle.json", "model.int8.onnx"}
    assert list(tmp_path.iterdir()) == [output]


def test_an_error_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxmood_export.verify.MAX_FLOAT_ERROR", 0.0)
    with pytest.raises(LogitsError, match="a logit is off by"):
        export_bundle(str(checkpoint), tmp_path / "bundle", precisions=["fp32"])
    assert list(tmp_path.iterdir()) == []


def test_full_disk(checkpoint: Path, tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(ExportError, match="the disk is full; nothing was written"):
            export_bundle(str(checkpoint), tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_no_recordings_to_verify_on(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(voxmood.AudioError, match="holds no recordings"):
        export_bundle(str(checkpoint), tmp_path / "bundle", audio=tmp_path)


def test_names_axes_and_shapes_have_their_own_errors(
    bundle: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.fp32.onnx"
    graph = onnx_ir.load(bundle / "model.fp32.onnx")
    graph.graph.outputs[2].name = "vector"
    onnx_ir.save(graph, path)
    with pytest.raises(NamesError, match=r"vector.*expected.*embedding"):
        check_contract(path, "fp32", 4)
    with pytest.raises(AxesError, match=r"logits is \['batch', 4\]; expected \['batch', 5\]"):
        check_contract(bundle / "model.fp32.onnx", "fp32", 5)
    with pytest.raises(AxesError, match="waveform"):
        check_contract(bundle / "model.int8.onnx", "fp32", 4)
    loaded, clips = load_checkpoint(str(checkpoint)), synthetic_clips(16000)
    reference = [logits[:3] for logits in reference_logits(loaded, clips.waveforms)]
    with pytest.raises(ShapesError, match=r"\(4,\).*\(3,\)"):
        verify(voxmood.load(bundle), reference, clips, Bounds())


def test_the_package_imports_pytorch_only_to_export() -> None:
    code = (
        "import sys, voxmood_export, voxmood_export.cli; assert 'torch' not in sys.modules\n"
        "assert not hasattr(voxmood_export, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_is_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["export", str(checkpoint), "out"]) == 1
    assert "voxmood[export,cpu]" in capsys.readouterr().err


def test_fp16_is_close_and_any_batch(checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    export_bundle(str(checkpoint), output, precisions=["fp16"])
    half, single = voxmood.load(output), voxmood.load(bundle, precision="fp32")
    assert half.precision == "fp16"
    assert (output / "model.fp16.onnx").stat().st_size < 0.7 * (
        bundle / "model.fp32.onnx"
    ).stat().st_size
    clips = generated_clips(16000)
    batch = half.predict_batch(clips, sampling_rate=16000)
    weight = load_file(checkpoint / "model.safetensors")["classifier.weight"].numpy()
    for clip, together in zip(clips, batch, strict=True):
        alone, expected = (m.predict(clip, sampling_rate=16000) for m in (half, single))
        size = terms(weight, expected.embedding)
        assert alone.logits == near(expected.logits, FLOAT16, size)
        assert together.logits == near(expected.logits, FLOAT16, size)
        assert not np.array_equal(alone.logits, expected.logits)


def test_bounds_that_int8_misses_keep_layers_in_float(
    checkpoint: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = voxmood.load(bundle).bundle.precisions["int8"]
    wanted = plain.measured["sqnr_db"] + 3
    output = tmp_path / "bundle"
    command = ["export", str(checkpoint), str(output), "--precisions", "int8", "--min-sqnr"]
    assert main([*command, str(wanted)]) == 0
    text = capsys.readouterr().out
    mixed = voxmood.load(output).bundle.precisions["int8"]
    kept = mixed.measured["in_float"]
    assert f"in float for the bounds: {len(kept)} linear layers" in text
    assert text.endswith(f"written to {output}; next: voxmood predict FILE --model {output}\n")
    assert mixed.measured["sqnr_db"] >= wanted > mixed.measured["without"]["sqnr_db"]
    assert mixed.bytes > plain.bytes
    graph = onnx.load(output / "model.int8.onnx").graph
    floats = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    assert set(kept) <= floats
    assert len(kept) < sum(node.op_type == "MatMulIntegerToFloat" for node in graph.node)


def test_bounds_that_cannot_be_met_are_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BoundsError, match=r"in float, misses.*SQNR.*must be at least 200 dB"):
        export_bundle(
            str(checkpoint), tmp_path / "b", precisions=["int8"], bounds=Bounds(min_sqnr=200)
        )
    assert list(tmp_path.iterdir()) == []
