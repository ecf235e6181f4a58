"""SmoothQuant: the float function stays the same, and outliers go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from near import NETWORK_DB, near
from torch import nn

from voxmood.comparison.metrics import sqnr
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips, synthetic_clips
from voxmood_export.int8.smooth_quant import smooth
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import BASE, LARGE, SMALL, add_outliers, make_checkpoint


def form_of(checkpoint: Path, *, loud: bool = False, far: bool = False) -> InferenceForm:
    """Return the single-clip form of a checkpoint.

    Args:
        checkpoint: its folder.
        loud: whether a few channels are outliers, which leaves the function as it is.
        far: whether the channels of all norms are off zero, as in trained networks.
    """
    model = load_checkpoint(str(checkpoint)).model
    if loud:
        add_outliers(model)
    if far:
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.normal_(module.bias, std=3)
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


@pytest.mark.parametrize("head", ["every layer", "last layer"])
@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
def test_post_norm_networks_stay_the_same(tmp_path: Path, kind: str, head: str) -> None:
    architecture = f"{kind}ForSequenceClassification"
    settings = BASE | SMALL | {"use_weighted_layer_sum": head == "every layer"}
    make_checkpoint(tmp_path, settings, architecture=architecture)
    form = form_of(tmp_path, loud=True, far=True)
    before = logits(form)
    smooth(form, synthetic_clips(16000).calibration)
    assert logits(form) == near(before)


def test_outliers_of_post_norm_layers_go(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, BASE | SMALL)
    form = form_of(tmp_path, loud=True)
    outliers = {each.tensor: each for each in smooth(form, generated_clips(16000))}
    for index in range(len(form.layers)):
        # The residual takes the scale of a layer's input and of its middle back.
        tensor = f"layers.{index - 1}.feed_forward_norm" if index else "encoder_norm"
        for name in (tensor, f"layers.{index}.attention_norm"):
            each = outliers[name]
            assert each.after is not None
            assert each.before > 2.5 * each.after, each


def test_norms_of_post_norm_layers_are_centered(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, BASE | SMALL)
    form = form_of(tmp_path, far=True)
    means: dict[str, float] = {}

    def observe(name: str, x: torch.Tensor) -> None:
        means[name] = float(x.mean((0, 1)).abs().max())

    for name, module in form.named_modules():
        if name.endswith(("query", "expand")):
            module.register_forward_pre_hook(lambda _, inputs, name=name: observe(name, inputs[0]))
    logits(form)
    far = dict(means)
    smooth(form, generated_clips(16000))
    logits(form)
    assert len(means) == 2 * len(form.layers)
    for name, mean in means.items():
        assert far[name] > 3 > 6 * mean, name


def test_norms_that_feed_gates_are_left(tmp_path: Path) -> None:
    for settings, left in (
        (LARGE, {"layers.0.attention_norm", "layers.1.attention_norm"}),
        (BASE, {"encoder_norm", "layers.0.feed_forward_norm"}),
    ):
        settings = settings | SMALL | {"num_hidden_layers": 2}
        make_checkpoint(tmp_path, settings, architecture="WavLMForSequenceClassification")
        outliers = smooth(form_of(tmp_path), generated_clips(16000))
        assert {each.tensor for each in outliers if each.after is None} == left


def test_smoothed_norms_are_layer_norms_still(checkpoint: Path) -> None:
    form = form_of(checkpoint)
    smooth(form, generated_clips(16000))
    assert isinstance(form.projection_norm, nn.LayerNorm)
    assert sqnr(logits(form_of(checkpoint)), logits(form)) > NETWORK_DB
