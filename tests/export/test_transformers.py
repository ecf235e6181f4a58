"""The same bundle from transformers 4.57 and 5, and with Optimum and without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
import transformers
from near import near
from transformers import AutoModelForAudioClassification
from variations import first_of

import voxmood
from voxmood.bundle.locate import shipped_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips
from voxmood_export.graph import export_graph, has_optimum
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import BASE, LARGE, SMALL, make_checkpoint
from voxmood_export.verify import reference_logits

RATE = 16000
IS_4 = transformers.__version__.startswith("4.")


def logits(checkpoint: Path) -> tuple[np.ndarray, np.ndarray]:
    """What our reference gives, and what the class of the installed transformers gives."""
    loaded = load_checkpoint(str(checkpoint))
    theirs: Any = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
    rows = []
    for clip in generated_clips(RATE):
        inputs = loaded.extractor(clip, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            values = inputs.input_values
            rows.append((loaded.model(values)[0].numpy(), theirs(values).logits[0].numpy()))
    ours, original = map(np.stack, zip(*rows, strict=True))
    return ours, original


def test_transformers_5_gives_other_answers(checkpoint: Path) -> None:
    """With a layer norm after the encoder and a sum over layers; the page of the export says so.

    If this fails with transformers 5, it computes what 4.57 does again: say so in
    `export/README.md`, and in the benchmark's row of PyTorch.
    """
    ours, theirs = logits(checkpoint)
    if IS_4:
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert np.abs(ours - theirs).max() > 0.1


@pytest.mark.parametrize("sum_of_layers", [True, False])
def test_other_checkpoints_get_the_same_answers(sum_of_layers: bool, tmp_path: Path) -> None:
    settings = (BASE if sum_of_layers else LARGE) | SMALL
    make_checkpoint(tmp_path, settings | {"use_weighted_layer_sum": sum_of_layers})
    ours, theirs = logits(tmp_path)
    assert ours == near(theirs)


def test_the_shipped_checkpoint_gives_what_its_bundle_does() -> None:
    """The bundle was made with transformers 4.57."""
    folder = shipped_bundle().parent
    if not (folder / "model.safetensors").exists():
        pytest.skip("the checkpoint of the shipped bundle is not here")
    loaded, bundle = load_checkpoint(str(folder)), voxmood.load(precision="fp32")
    clips = generated_clips(RATE)
    # The constants that keep the norms of its front end still are ten times as large as what is
    # heard, three times in a row, and so are their roundings.
    for clip, expected in zip(clips, reference_logits(loaded, clips), strict=True):
        assert bundle.predict(clip, sampling_rate=RATE).logits == near(expected, 1e-3)


@pytest.mark.skipif(not has_optimum(), reason="Optimum is not installed")
@pytest.mark.parametrize("batched", first_of([True, False]))
@pytest.mark.parametrize("settings", [LARGE, BASE], ids=["large", "base"])
def test_both_ways_write_the_same_graph(
    settings: dict[str, Any], batched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path, settings | SMALL)
    form = InferenceForm(load_checkpoint(str(tmp_path)).model, do_normalize=True, batched=batched)
    with_optimum = export_graph(form)
    monkeypatch.setattr("voxmood_export.graph.has_optimum", lambda: False)
    without = export_graph(form)
    nodes = zip(with_optimum.graph, without.graph, strict=True)
    for one, other in nodes:
        for field in ("name", "domain", "op_type"):
            assert getattr(one, field) == getattr(other, field)
        for values in ("inputs", "outputs"):
            names = [[each and each.name for each in getattr(n, values)] for n in (one, other)]
            assert names[0] == names[1]
        assert str(one.attributes) == str(other.attributes)
    assert onnx_ir.to_proto(with_optimum) == onnx_ir.to_proto(without)
