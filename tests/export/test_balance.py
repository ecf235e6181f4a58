"""Balance and rounding: the float function stays, int8 gets better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from near import NETWORK_DB, near
from torch import nn

from voxmood.comparison.metrics import sqnr
from voxmood_export.balance import balance
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.inference import InferenceForm
from voxmood_export.int8 import fewest
from voxmood_export.quantize import quantize_weight
from voxmood_export.verify import generated_clips

LOUD = 30.0


def form_of(checkpoint: Path, *, loud: bool = False) -> InferenceForm:
    """The single-clip form; with a few outlier channels, its function unchanged by them."""
    model = load_checkpoint(str(checkpoint)).model
    if loud:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in model.base_model.encoder.layers:
                attention = layer.attention
                for norm, products in (
                    (layer.layer_norm, [attention.q_proj, attention.k_proj, attention.v_proj]),
                    (layer.final_layer_norm, [layer.feed_forward.intermediate_dense]),
                ):
                    channels = torch.randperm(len(norm.weight), generator=generator)[:6]
                    norm.weight[channels] *= LOUD
                    norm.bias[channels] *= LOUD
                    for product in products:
                        product.weight[:, channels] /= LOUD
    return InferenceForm(model, do_normalize=True, batched=False)


def logits(form: InferenceForm) -> np.ndarray:
    with torch.inference_mode():
        return np.concatenate(
            [
                form(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))[0].numpy()
                for clip in generated_clips(16000).waveforms
            ]
        )


@pytest.mark.parametrize("observed", [False, True])
def test_function_stays_and_outliers_go(checkpoint: Path, observed: bool) -> None:
    form = form_of(checkpoint, loud=True)
    before = logits(form)
    outliers = balance(form, generated_clips(16000).calibration if observed else None)
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
    balance(form, None)
    InferenceForm(loaded.model, do_normalize=True, batched=True, half=True)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_norms_that_feed_more_than_products_are_left(tmp_path: Path) -> None:
    from voxmood_bench.random_checkpoint import BASE, LARGE, SMALL, make_checkpoint

    for family, settings, left in (
        ("wav2vec2", BASE, {"attention_norm", "feed_forward_norm"}),  # and the residual
        ("wavlm", LARGE, {"attention_norm"}),  # and the gate of the relative positions
    ):
        make_checkpoint(tmp_path / family, settings | SMALL, family=family)
        outliers = balance(form_of(tmp_path / family), None)
        names = {each.tensor.rpartition(".")[2] for each in outliers if each.after is None}
        assert names == left, family


def test_rounding_with_moments_beats_the_nearest(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(8, 64))  # inputs that go with each other, as speech's do
    inputs = random.normal(size=(4000, 8)) @ mixing + 0.1 * random.normal(size=(4000, 64))
    inputs += 3 * random.normal(size=64)
    fitted, tested = inputs[:2000], inputs[2000:]
    matrix = random.normal(size=(64, 32)).astype(np.float32)
    moments = fitted.T @ fitted / len(fitted)
    errors = []
    for given in (None, moments):
        values, scale = quantize_weight(matrix, given)
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 127
        errors.append(float(((tested @ (values * scale.astype(np.float64) - matrix)) ** 2).mean()))
    assert errors[1] < 0.25 * errors[0]


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 8, 10])
def test_fewest_finds_the_smallest_prefix(needed: int) -> None:
    harm = {f"w{index}": float(index) for index in range(10)}
    tried: list[int] = []

    def enough(names: list[str]) -> bool:
        tried.append(len(names))
        return len(names) >= needed

    kept = fewest(harm, enough)
    assert kept == [f"w{9 - index}" for index in range(needed)]
    assert len(tried) <= 8
    assert fewest(harm, lambda names: False) == fewest(harm, lambda names: len(names) == 10)


def test_balanced_norms_are_layer_norms_still(checkpoint: Path) -> None:
    form = form_of(checkpoint)
    balance(form, None)
    assert isinstance(form.projection_norm, nn.LayerNorm)
    assert sqnr(logits(form_of(checkpoint)), logits(form)) > NETWORK_DB
