"""The inference form and each of its rewrites against what they replace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from exact import normalized
from near import LAYER, near
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
from transformers.models.wav2vec2 import modeling_wav2vec2
from transformers4 import Transformers4
from variations import first_of

from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.heads.superb import Superb
from voxmood_export.network.encoder import BlockedGroupedConv, GroupedConv
from voxmood_export.network.feature_encoder import (
    FeatureEncoderLayer,
    GroupNormFirstLayer,
    Im2col,
    LayerNormFirstLayer,
)
from voxmood_export.network.inference_form import InferenceForm, normalize
from voxmood_export.network.original import OriginalNetwork
from voxmood_export.testing import LARGE, SMALL


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Checkpoint:
    return load_checkpoint(str(checkpoint))


def form(loaded: Checkpoint, *, batched: bool) -> InferenceForm:
    return InferenceForm(loaded.model, do_normalize=True, batched=batched).eval()


@pytest.fixture(scope="module")
def original(checkpoint: Path) -> Transformers4:
    return Transformers4(checkpoint)


def reference(loaded: Checkpoint, original: Transformers4, clip: np.ndarray) -> torch.Tensor:
    inputs = loaded.extractor(clip, sampling_rate=16000, return_tensors="pt")
    return original(inputs.input_values)[0]


# Every length over two frames, and each side of later frame boundaries.
BOUNDARIES = [400 + 320 * frames for frames in range(3, 60, 7)]
LENGTHS = [*range(400, 1045), *(edge + side for edge in BOUNDARIES for side in (-1, 0, 1))]


@pytest.mark.parametrize("batched", first_of([True, False]))
def test_equals_transformers_around_every_frame_boundary(
    loaded: Checkpoint, original: Transformers4, batched: bool
) -> None:
    network = form(loaded, batched=batched)
    random = np.random.default_rng(0)
    for length in LENGTHS:
        clip = random.normal(0.05, 0.1, length).astype(np.float32)
        with torch.inference_mode():
            logits, probabilities, _ = network(torch.tensor(clip)[None], torch.tensor([length]))
        expected = reference(loaded, original, clip)
        assert logits[0].numpy() == near(expected.numpy()), length
        exact = logits[0].double().softmax(-1)
        assert probabilities[0].numpy() == pytest.approx(exact.numpy(), abs=1e-6)


def test_masked_batch_equals_transformers(loaded: Checkpoint, original: Transformers4) -> None:
    random = np.random.default_rng(1)
    lengths = [400, 799, 5000, 16000, 15999]
    clips = [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    inputs = loaded.extractor(
        clips, sampling_rate=16000, return_tensors="pt", padding=True, return_attention_mask=True
    )
    padded = torch.full((len(clips), 17000), 3.0)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = torch.tensor(clip)
    with torch.inference_mode():
        expected = original(inputs.input_values, inputs.attention_mask)
        logits, _, _ = form(loaded, batched=True)(padded, torch.tensor(lengths))
    assert logits.numpy() == near(expected.numpy())


def as_original(model: Wav2Vec2ForSequenceClassification) -> OriginalNetwork:
    head = Superb(model.config)
    head.load_state_dict({name: model.state_dict()[name] for name in head.state_dict()})
    return OriginalNetwork(model.base_model, head, "classification")


def test_without_weighted_layer_sum() -> None:
    torch.manual_seed(3)
    settings = LARGE | SMALL | {"use_weighted_layer_sum": False}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**settings)).eval()
    network = InferenceForm(as_original(model), do_normalize=False, batched=True)
    clip = torch.randn(1, 9000)
    with torch.inference_mode():
        logits, _, embedding = network(clip, torch.tensor([9000]))
        assert logits.numpy() == near(model(clip).logits.numpy(), LAYER)
        assert model.classifier(embedding).numpy() == near(logits.numpy(), LAYER)


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 2), (2, 2), (4, 2), (5, 3), (1, 1)])
def test_im2col_equals_unfold(kernel: int, stride: int) -> None:
    for windows in range(1, 8):
        x = torch.randn(2, (windows - 1) * stride + kernel, 3)
        expected = x.unfold(1, kernel, stride).permute(0, 1, 3, 2).flatten(2)
        assert torch.equal(Im2col(kernel, stride, 3, None)(x), expected)


def conv_layer(first: bool) -> modeling_wav2vec2.Wav2Vec2LayerNormConvLayer:
    torch.manual_seed(5)
    config = Wav2Vec2Config(**(LARGE | {"conv_dim": [24] * 7}))
    layer = modeling_wav2vec2.Wav2Vec2LayerNormConvLayer(config, layer_id=0 if first else 1)
    nn.init.normal_(layer.layer_norm.weight, 1, 0.3)
    nn.init.normal_(layer.layer_norm.bias, 0, 0.3)
    nn.init.normal_(layer.conv.bias, 0, 0.3)
    return layer.eval()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("first", [True, False])
def test_feature_encoder_layer_equals_conv_norm_gelu(first: bool, scale: float) -> None:
    layer = conv_layer(first)
    channels = 1 if first else 24
    rewritten = (LayerNormFirstLayer if first else FeatureEncoderLayer)(layer, None)
    for windows in (1, 2, 7):
        length = (windows - 1) * (5 if first else 2) + (10 if first else 3)
        x = scale * torch.randn(2, length, channels)
        with torch.inference_mode():
            expected = layer.double()(x.double().transpose(1, 2)).transpose(1, 2)
            rewritten.float()
            result = rewritten(x[..., 0], None, windows) if first else rewritten(x)
        assert result.numpy() == near(expected.numpy(), LAYER)


@pytest.mark.parametrize("kernel", [15, 16, 128])
@pytest.mark.parametrize("rewrite", [GroupedConv, BlockedGroupedConv])
def test_positional_conv(kernel: int, rewrite: type[nn.Module]) -> None:
    torch.manual_seed(7)
    config = Wav2Vec2Config(
        hidden_size=48, num_conv_pos_embeddings=kernel, num_conv_pos_embedding_groups=4
    )
    embedding = modeling_wav2vec2.Wav2Vec2PositionalConvEmbedding(config).eval()
    rewritten = rewrite(embedding.conv)
    for frames in (1, 2, 3, 50, 51):
        x = torch.randn(1, frames, 48)
        with torch.inference_mode():
            expected = embedding(x)
            result = nn.functional.gelu(rewritten(x))
        assert result.numpy() == near(expected.numpy(), LAYER)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_other_kernels_and_strides(norm: str) -> None:
    torch.manual_seed(9)
    encoder = {
        "conv_dim": [24] * 4,
        "conv_kernel": [8, 5, 2, 4],
        "conv_stride": [3, 2, 3, 2],
    }
    settings = LARGE | SMALL | encoder | {"feat_extract_norm": norm}
    model = as_original(Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**settings)).eval())
    for batched in (True, False):
        network = InferenceForm(model, do_normalize=False, batched=batched)
        smallest = network.geometry.min_samples
        for length in (*range(smallest, smallest + 40), 3001):
            clip = torch.randn(1, length)
            with torch.inference_mode():
                logits, _, _ = network(clip, torch.tensor([length]))
                assert logits.numpy() == near(model(clip).numpy(), LAYER)


def test_variance_from_the_covariance_keeps_its_digits() -> None:
    """A nearly constant waveform, of which the filters pass a millionth."""
    conv = torch.nn.Conv1d(1, 16, 10, stride=5, bias=False)
    with torch.no_grad():
        conv.weight -= conv.weight.mean(-1, keepdim=True)  # deaf to constants
    norm = torch.nn.GroupNorm(16, 16)
    layer = SimpleNamespace(conv=conv, layer_norm=norm)
    time = torch.arange(8000) / 16000
    wave = (1000 * torch.sin(2 * torch.pi * 2 * time) + torch.sin(2 * torch.pi * 2000 * time))[None]
    with torch.inference_mode():
        exact = norm.double()(conv.double()(wave.double()[:, None])).transpose(1, 2)
        norm.float()
        conv.float()
        frames = exact.shape[1]
        found = GroupNormFirstLayer(layer, 1)(wave, torch.tensor([8000]), frames)
    assert found.numpy() == near(torch.nn.functional.gelu(exact).numpy(), 7e-4)


class Normalization(nn.Module):
    """The first step of the inference form, as a graph of its own."""

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return normalize(waveform, lengths, None, 1e-7)


@pytest.mark.parametrize("samples", [400, 512, 513, 80_000, 480_000])
def test_normalization_of_long_clips_rounds_no_more(samples: int, tmp_path: Path) -> None:
    """ONNX Runtime adds up one sample after another."""
    random = np.random.default_rng(samples)
    wave = random.normal(0.05, 0.1, samples).astype(np.float32)
    inputs = (torch.from_numpy(wave)[None], torch.tensor([samples]))
    path = tmp_path / "normalization.onnx"
    torch.onnx.export(
        Normalization(), inputs, path, input_names=["waveform", "lengths"], opset_version=18,
        dynamic_axes={"waveform": {1: "samples"}}, dynamo=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"waveform": wave[None], "lengths": np.array([samples])})
    exact = normalized(wave).numpy()
    scale = (found[0] @ exact) / (exact @ exact)
    print(f"{samples}: scale off by {abs(scale - 1):.1e}, mean {abs(found.mean(dtype=float)):.1e}")
    assert abs(scale - 1) < 2e-7
    assert abs(found.mean(dtype=np.float64)) < 2e-7
