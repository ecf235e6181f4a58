"""Every supported family, through the whole path, against transformers.

One row of the table in `export/README.md` for each case; `pytest -m full_size` runs them at full
size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from layouts import logits_of
from near import near
from transformers4 import Transformers4
from variations import first_of

import voxmood
from voxmood.audio import read_waveform
from voxmood.comparison.metrics import sqnr
from voxmood_export import export_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing import BASE, LARGE, SMALL, make_checkpoint

RATE = 16000


@dataclass(frozen=True)
class Case:
    architecture: str
    settings: dict[str, Any]
    small: dict[str, Any] = field(default_factory=dict)
    do_normalize: bool = True


WAV2VEC2 = "Wav2Vec2ForSequenceClassification"
HUBERT = "HubertForSequenceClassification"
WAVLM = "WavLMForSequenceClassification"
BATCH_NORM = {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}
BUCKETS = {"num_buckets": 32, "max_bucket_distance": 40}  # reached by clips of a second
CASES = {
    "hubert-base-batch-norm": Case(HUBERT, BASE | BATCH_NORM),
    "wavlm-large": Case(WAVLM, LARGE, BUCKETS),
    "wavlm-base": Case(WAVLM, BASE, BUCKETS, do_normalize=False),
    "wav2vec2-base": Case(WAV2VEC2, BASE),
    "wav2vec2-large": Case(WAV2VEC2, LARGE),
    "wav2vec2-base-last-layer": Case(WAV2VEC2, BASE | {"use_weighted_layer_sum": False}),
    "hubert-large": Case(HUBERT, LARGE),
    "hubert-base": Case(HUBERT, BASE),
}


@pytest.fixture(scope="module", params=first_of(CASES, 2))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def checkpoint(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / "checkpoint"
    settings = case.settings | SMALL | case.small
    make_checkpoint(
        folder, settings, architecture=case.architecture, do_normalize=case.do_normalize
    )
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    export_bundle(str(checkpoint), checkpoint.parent / "bundle")
    return checkpoint.parent / "bundle"


def reference(checkpoint: Path, waveforms: list[np.ndarray]) -> np.ndarray:
    """Logits of transformers, clip by clip, without an attention mask."""
    loaded, original = load_checkpoint(str(checkpoint)), Transformers4(checkpoint)
    rows = []
    for waveform in waveforms:
        inputs = loaded.extractor(waveform, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            rows.append(original(inputs.input_values)[0].numpy())
    return np.stack(rows)


# 400 is the smallest; 719 and 720, 1039 and 1040 stand on either side of a frame boundary.
LENGTHS = (400, 401, 719, 720, 721, 1039, 1040, 7777, 16000, 40001)


@pytest.mark.parametrize("batched", [True, False])
def test_form_equals_transformers(checkpoint: Path, case: Case, batched: bool) -> None:
    form = InferenceForm(
        load_checkpoint(str(checkpoint)).model, do_normalize=case.do_normalize, batched=batched
    )
    random = np.random.default_rng(0)
    clips = [random.normal(0.02, 0.1, length).astype(np.float32) for length in LENGTHS]
    for clip, expected in zip(clips, reference(checkpoint, clips), strict=True):
        padded = torch.full((1, len(clip) + 333), 0.3)
        padded[0, : len(clip)] = torch.from_numpy(clip)
        with torch.inference_mode():
            found, _, _ = form(padded, torch.tensor([len(clip)]))
        assert found[0].numpy() == near(expected), len(clip)


def test_fp32_equals_transformers(checkpoint: Path, bundle: Path) -> None:
    clips = generated_clips(RATE)
    expected = reference(checkpoint, clips)
    assert logits_of(bundle, "fp32", clips) == near(expected)


def test_batch_equals_single_runs(bundle: Path) -> None:
    model = voxmood.load(bundle, precision="fp32")
    clips = generated_clips(RATE)
    for clip, together in zip(clips, model.predict_batch(clips, sampling_rate=RATE), strict=True):
        alone = model.predict(clip, sampling_rate=RATE)
        assert together.logits == near(alone.logits)


def test_int8_drifts_little(bundle: Path) -> None:
    clips = generated_clips(RATE)
    assert sqnr(logits_of(bundle, "fp32", clips), logits_of(bundle, "int8", clips)) > 15


def test_each_layer_has_weights_and_a_zero_point_of_its_own(bundle: Path) -> None:
    """Else ONNX Runtime aborts or saturates on CPUs that need uint8 weights."""
    graph = onnx.load(bundle / "model.int8.onnx").graph
    products = [node.input for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for place in (1, 5):
        assert len({inputs[place] for inputs in products}) == len(products)
        assert {tensors[inputs[place]].dtype for inputs in products} == {np.dtype(np.int8)}
    assert {int(tensors[inputs[5]]) for inputs in products} == {0}


def test_only_small_layers_stay_in_float(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.int8.onnx", load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    left = {node.input[1] for node in graph.node if node.op_type == "MatMul"} & weights
    assert {"head.projector.matrix", "head.classifier.matrix"} <= left
    assert all(name.startswith(("front_end.0.", "head.")) or ".gate." in name for name in left)


def test_positional_conv_is_finer_where_no_norm_precedes_it(bundle: Path, case: Case) -> None:
    graph = onnx.load(bundle / "model.int8.onnx", load_external_data=False).graph
    second_terms = {node.name.split("/")[1] for node in graph.node if node.name.endswith("/rest")}
    assert ("positional" in second_terms) is not case.settings.get("feat_proj_layer_norm", True)


@pytest.mark.full_size
@pytest.mark.parametrize("name", CASES)
def test_full_size(name: str, emodb: list[Path], tmp_path: Path) -> None:
    case = CASES[name]
    waves = [read_waveform(path, rate=RATE, max_seconds=30) for path in emodb]
    make_checkpoint(
        tmp_path / "checkpoint",
        case.settings,
        architecture=case.architecture,
        do_normalize=case.do_normalize,
        waveforms=waves[1::2],
    )
    bundle = tmp_path / "bundle"
    export_bundle(str(tmp_path / "checkpoint"), bundle, audio=emodb[0].parent)
    tested = waves[::2]
    expected = reference(tmp_path / "checkpoint", tested)
    float32, int8 = (logits_of(bundle, precision, tested) for precision in ("fp32", "int8"))
    error = np.abs(float32 - expected).max()
    model = voxmood.load(bundle, precision="fp32")
    batch = np.stack([p.logits for p in model.predict_batch(tested, sampling_rate=RATE)])
    apart = np.abs(batch - float32).max()
    print(f"{name}: fp32 error {error:.1e}, batch {apart:.1e}, int8 {sqnr(float32, int8):.1f} dB")
    assert float32 == near(expected)
    assert batch == near(float32)
