"""SmoothQuant: the float function stays the same, and outliers go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from near import NETWORK_DB, near
from torch import nn

from voxmood.comparison.metrics import sqnr
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips, synthetic_clips
from voxmood_export.int8.smooth_quant import smooth
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import add_outliers


def form_of(checkpoint: Path, *, loud: bool = False) -> InferenceForm:
    """The single-clip form; with a few outlier channels, its function unchanged by them."""
    model = load_checkpoint(str(checkpoint)).model
    if loud:
        add_outliers(model)
    return InferenceForm(model, do_normalize=True, batched=False)


def logits(form: InferenceForm) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate(
            [
                form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0].numpy()
                for clip in generated_clips(16000)
            ]
        )


def test_function_stays_and_outliers_go(checkpoint: Path) -> None:
    form = form_of(checkpoint, loud=True)
    before = logits(form)
    outliers = smooth(form, synthetic_clips(16000).calibration)
    assert logits(form) == near(before)
    assert before == near(logits(form_of(checkpoint)))
    norms = [each for each in outliers if each.tensor.endswith("_norm")]
    assert len(norms) == 1 + 2 * len(form.layers)
    for each in norms[1:]:
        assert each.after is not None
        assert each.before > 10 > 2.5 * each.after, each


def test_the_checkpoint_is_left_as_it_is(checkpoint: Path) -> None:
    loaded = load_checkpoint(str(checkpoint))
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    form = InferenceForm(loaded.model, do_normalize=True, batched=False)
    smooth(form, generated_clips(16000))
    InferenceForm(loaded.model, do_normalize=True, batched=True, half=True)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_norms_that_feed_more_than_linear_layers_are_left(tmp_path: Path) -> None:
    from voxmood_export.testing import BASE, LARGE, SMALL, make_checkpoint

    # The first feed the residual, too, the second the gate of the relative positions.
    for architecture, settings, left in (
        ("Wav2Vec2ForSequenceClassification", BASE, {"attention_norm", "feed_forward_norm"}),
        ("WavLMForSequenceClassification", LARGE, {"attention_norm"}),
    ):
        make_checkpoint(tmp_path / architecture, settings | SMALL, architecture=architecture)
        outliers = smooth(form_of(tmp_path / architecture), generated_clips(16000))
        names = {each.tensor.rpartition(".")[2] for each in outliers if each.after is None}
        assert names == left, architecture


def test_smoothed_norms_are_layer_norms_still(checkpoint: Path) -> None:
    form = form_of(checkpoint)
    smooth(form, generated_clips(16000))
    assert isinstance(form.projection_norm, nn.LayerNorm)
    assert sqnr(logits(form_of(checkpoint)), logits(form)) > NETWORK_DB
