"""FunASR's emotion2vec through the whole path; `test_funasr.py` has the comparison with FunASR."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from exact import error, exact_logits, limit
from layouts import logits_of
from near import near
from torch.nn import functional

import voxmood
from voxmood.bundle.description import read_bundle
from voxmood.comparison.metrics import sqnr
from voxmood_export import CheckpointError, export_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips
from voxmood_export.network.emotion2vec import alibi_slopes
from voxmood_export.network.inference_form import InferenceForm
from voxmood_export.testing_emotion2vec import FIVE, NINE, SMALL, make_emotion2vec, random_state
from voxmood_export.verify import reference_logits

RATE = 16000
LABELS = (
    "angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>"
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(exported: Callable[[str], Path]) -> Path:
    return exported("emotion2vec") / "checkpoint"


@pytest.fixture(scope="module")
def bundle(exported: Callable[[str], Path]) -> Path:
    return exported("emotion2vec") / "bundle"


# 400 is the smallest; 719 and 720, 1039 and 1040 stand on either side of a frame boundary.
LENGTHS = (400, 401, 719, 720, 721, 1039, 1040, 7777, 16000, 40001)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_form_equals_the_original(tmp_path: Path, normalize: bool, batched: bool) -> None:
    make_emotion2vec(tmp_path, SMALL, normalize=normalize, tokens=FIVE, seed=1)
    loaded = load_checkpoint(str(tmp_path))
    assert loaded.extractor.do_normalize is normalize
    form = InferenceForm(loaded.model, do_normalize=normalize, batched=batched)
    random = np.random.default_rng(0)
    # Quiet clips show the epsilon of the normalization.
    clips = [random.normal(0.002, 0.003, length).astype(np.float32) for length in LENGTHS]
    for clip, expected in zip(clips, reference_logits(loaded, clips), strict=True):
        padded = torch.full((1, len(clip) + 333), 0.3)
        padded[0, : len(clip)] = torch.from_numpy(clip)
        with torch.inference_mode():
            found, _, _ = form(padded, torch.tensor([len(clip)]))
        assert found[0].numpy() == near(expected), len(clip)


def test_the_extractor_is_a_layer_norm_of_the_whole_waveform(checkpoint: Path) -> None:
    extractor = load_checkpoint(str(checkpoint)).extractor
    wave = np.random.default_rng(2).normal(0.01, 0.002, 5000).astype(np.float32)
    found = extractor(wave, sampling_rate=RATE, return_tensors="np").input_values[0]
    exact = wave.astype(np.float64)
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std() < 0.6  # the epsilon counts


def test_labels_are_the_english_halves_and_the_tokens_are_kept(bundle: Path) -> None:
    description = read_bundle(bundle)
    assert description.labels == LABELS
    assert description.original_labels == NINE
    assert json.loads((bundle / "bundle.json").read_text())["original_labels"] == list(NINE)
    assert description.license == "model-license (https://example.com/MODEL)"
    assert description.architecture == "emotion2vec"


def test_unused_tokens_have_no_probability(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "five")
    (copy / "tokens.txt").write_text("\r\n".join(FIVE), encoding="utf-8")  # no newline at the end
    export_bundle(str(copy), tmp_path / "bundle", precisions=["fp32"])
    waves = generated_clips(RATE)[:3]
    every = np.stack([*reference_logits(load_checkpoint(str(checkpoint)), waves)])
    masked = [row for row, token in enumerate(FIVE) if token.startswith("unuse")]
    every[:, masked] = -np.inf
    expected = torch.from_numpy(every).softmax(-1).numpy()
    model = voxmood.load(tmp_path / "bundle")
    for wave, row in zip(waves, expected, strict=True):
        found = model.predict(wave, sampling_rate=RATE).probabilities
        assert found is not None
        assert list(found) == ["angry", "happy", "neutral", "sad", "<unk>"]
        assert np.array(list(found.values())) == pytest.approx(np.delete(row, masked), abs=1e-5)


def test_fp32_equals_the_original_also_in_a_batch(checkpoint: Path, bundle: Path) -> None:
    clips = generated_clips(RATE)
    exact = exact_logits(checkpoint, clips)
    most = limit(exact_logits(checkpoint, clips, torch.float32), exact)
    batch = voxmood.load(bundle, precision="fp32").predict_batch(clips, sampling_rate=RATE)
    for found in (logits_of(bundle, "fp32", clips), np.stack([each.logits for each in batch])):
        assert error(found, exact) < most


def test_batch_equals_single_runs(bundle: Path) -> None:
    model = voxmood.load(bundle, precision="fp32")
    clips = generated_clips(RATE)
    for clip, together in zip(clips, model.predict_batch(clips, sampling_rate=RATE), strict=True):
        alone = model.predict(clip, sampling_rate=RATE)
        assert together.logits == near(alone.logits)
        assert together.embedding == near(alone.embedding)


def test_int8_drifts_little(bundle: Path) -> None:
    clips = generated_clips(RATE)
    assert sqnr(logits_of(bundle, "fp32", clips), logits_of(bundle, "int8", clips)) > 15


def test_the_embedding_is_the_mean_of_the_last_states(checkpoint: Path, bundle: Path) -> None:
    loaded = load_checkpoint(str(checkpoint))
    wave = generated_clips(RATE)[0]
    found = voxmood.load(bundle, precision="fp32").predict(wave, sampling_rate=RATE).embedding
    inputs = loaded.extractor(wave, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        expected = loaded.model.encoder(inputs).last_hidden_state.mean(1)[0]
    assert found.shape == (SMALL.embed_dim,)
    assert found == near(expected.numpy())


def test_the_float_graph_has_standard_operators_only(bundle: Path) -> None:
    model = onnx.load(bundle / "model.fp32.onnx")
    assert {node.domain for node in model.graph.node} == {""}
    (opset,) = model.opset_import
    assert 18 <= opset.version <= 20
    assert model.ir_version <= 10


def test_only_small_layers_stay_in_float(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.int8.onnx").graph
    weights = {tensor.name for tensor in graph.initializer}
    left = {node.input[1] for node in graph.node if node.op_type == "MatMul"} & weights
    assert left == {
        "front_end.0.factor.matrix", "front_end.0.product.matrix", "head.proj.matrix"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (4, [2, 4, 6, 8]),
        (16, [index / 2 for index in range(1, 17)]),
        (6, [2, 4, 6, 8, 1, 3]),
        (12, [*range(1, 9), 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes(heads: int, exponents: list[float]) -> None:
    """As in the paper for powers of two, and in its authors' code for other numbers."""
    assert alibi_slopes(heads).tolist() == pytest.approx([2**-each for each in exponents])


def test_hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = shutil.copytree(checkpoint, tmp_path / "hub")
    for name in ("configuration.json", "optimizer.pt", "logo.png"):
        (hub / name).write_text("{}")
    snapshot = tmp_path / "0123abc"  # as the hub's cache names it
    snapshot.mkdir()

    def download(source: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert (source, revision) == ("emotion2vec/emotion2vec_plus_base", "v1")
        for path in hub.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    loaded = load_checkpoint("emotion2vec/emotion2vec_plus_base", "v1")
    assert (loaded.name, loaded.revision) == ("emotion2vec/emotion2vec_plus_base", "0123abc")
    assert loaded.labels == LABELS
    assert {path.name for path in snapshot.iterdir()} == {
        "config.yaml", "model.pt", "tokens.txt", "README.md"
    }  # fmt: skip


Change = Callable[[Path], Any]


def weights(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the weights, or replace them if the change returns a dict or a list."""

    def apply(folder: Path) -> None:
        state = torch.load(folder / "model.pt", weights_only=True)
        changed = change(state)
        torch.save(changed if isinstance(changed, dict | list) else state, folder / "model.pt")

    return apply


def setting(key: str, value: Any) -> Change:
    def apply(folder: Path) -> None:
        content = yaml.safe_load((folder / "config.yaml").read_text())
        *path, last = key.split(".")
        place = content
        for part in path:
            place = place[part]
        place[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    return apply


def text(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def audio(key: str, value: Any) -> Change:
    return setting(f"model_conf.modalities.audio.{key}", value)


class Foreign:
    """A pickle that runs code when it is loaded without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    "change",
    [
        weights(lambda state: {"model": state, "epoch": 3}),
        weights(lambda state: {"state_dict": {"model_state_dict": state}}),
        weights(lambda state: {f"d2v_model.{name}": each for name, each in state.items()}),
        weights(lambda state: {f"module.{name}": each for name, each in state.items()}),
        weights(lambda state: state.update({"_ema": 3, "recon.weight": torch.zeros(2)})),
        weights(
            lambda state: state.update({"modality_encoders.AUDIO.decoder.proj.bias": torch.ones(3)})
        ),
        weights(lambda state: {name: each.double() for name, each in state.items()}),
        setting("scope_map", None),
        audio("feature_encoder_spec", str([(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2])),
        text("config.json", "{}"),  # some hubs want one to count downloads
    ],
)
def test_what_funasr_loads_too(checkpoint: Path, tmp_path: Path, change: Change) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    change(copy)
    expected = load_checkpoint(str(checkpoint)).model.state_dict()
    for name, found in load_checkpoint(str(copy)).model.state_dict().items():
        assert torch.equal(found, expected[name]), name


SPECS = (
    "__import__('os').abort()", "[(32, 10, 5)] * 10**9", "[(32, 10, 5)] * 1000", "[]", "",
    "[(32, 10)]", "[(32, 10, 0)]", "(32, 10, 5)", "[(32, 10, 5.0)]", "1 + 1", "(" * 900,
    "[(32, 10, 5)] * -1", None, 3,
)  # fmt: skip
YAML, TOKENS, WEIGHTS = "config.yaml", "tokens.txt", "model.pt"
WRONG: list[tuple[str, Change, str, str]] = [  # name, change, file, what is said of it
    ("no config", gone(YAML), YAML, "is missing"),
    ("no tokens", gone(TOKENS), TOKENS, "is missing"),
    ("no weights", gone(WEIGHTS), WEIGHTS, "is missing"),
    ("config empty", text(YAML, ""), YAML, "is empty"),
    ("config list", text(YAML, "- 1"), YAML, "names no model of FunASR"),
    ("config cut", text(YAML, "model: {"), YAML, "is not valid YAML (line 1"),
    ("config nested", text(YAML, "[" * 100_000), YAML, "is not valid YAML"),
    ("config runs", text(YAML, "a: !!python/object/apply:os.getcwd []"), YAML, "not valid YAML"),
    ("config latin-1", text(YAML, b"a: \xe4"), YAML, "not UTF-8"),
    ("config huge", text(YAML, b" " * (2 << 20)), YAML, "is larger than"),
    ("other model", setting("model", "SenseVoiceSmall"), YAML, "model 'SenseVoiceSmall'; of"),
    ("model list", setting("model", ["Emotion2vec"]), YAML, "the one that is supported"),
    ("no model", setting("model", None), YAML, "names no model of FunASR"),
    ("no sizes", setting("model_conf", None), YAML, "no model_conf"),
    ("no audio", setting("model_conf.modalities", None), YAML, "modalities.audio.conv_pos_pre_ln"),
    ("pre-norm", setting("model_conf.layer_norm_first", True), YAML, "only False is supported"),
    ("group norm", audio("extractor_mode", "default"), YAML, "only 'layer_norm' is supported"),
    ("no ALiBi", audio("use_alibi_encoder", False), YAML, "only True is supported"),
    ("scale each", audio("learned_alibi_scale_per_layer", True), YAML, "only False is supported"),
    ("normalize", setting("model_conf.normalize", "yes"), YAML, "write true or false"),
    ("depth 0", setting("model_conf.depth", 0), YAML, "depth is 0; write a whole number from 1"),
    ("depth huge", setting("model_conf.depth", 10**9), YAML, "from 1 to 100"),
    ("depth text", setting("model_conf.depth", "2"), YAML, "depth is '2'"),
    ("depth true", setting("model_conf.depth", True), YAML, "depth is True"),
    ("heads", setting("model_conf.num_heads", 5), YAML, "which 5 heads cannot share"),
    ("bias heads", audio("num_alibi_heads", 3), YAML, "num_alibi_heads and num_heads differ"),
    ("groups", audio("conv_pos_groups", 5), YAML, "which 5 groups cannot share"),
    ("ratio", setting("model_conf.mlp_ratio", "4"), YAML, "mlp_ratio is '4'"),
    ("scopes", setting("scope_map", ["a"]), YAML, "scope_map is not a list of pairs"),
    *(
        (f"layers {spec}", audio("feature_encoder_spec", spec), YAML, "write a list such as")
        for spec in SPECS
    ),
    ("fewer layers", setting("model_conf.depth", 1), "model.pt", "has blocks.1.attn.proj.bias"),
    ("more layers", setting("model_conf.depth", 3), "model.pt", "lacks blocks.2.attn.proj.bias"),
    ("wider", setting("model_conf.mlp_ratio", 2.0), "model.pt", "but config.yaml asks for"),
    ("fewer tokens", text(TOKENS, "a\nb\n"), TOKENS, "has 2 lines, but the weights are for 9"),
    ("more tokens", text(TOKENS, "\n".join("abcdefghij")), TOKENS, "has 10 lines, but"),
    ("tokens empty", text(TOKENS, ""), TOKENS, "is empty"),
    ("tokens blank", text(TOKENS, "\n\n"), TOKENS, "has 0 labels"),
    ("tokens unused", text(TOKENS, "unuse_0\n" * 8 + "a"), TOKENS, "has 1 labels"),
    ("token blank", text(TOKENS, "a\n\nb\n"), TOKENS, "line 2, '', has no label"),
    ("token half", text(TOKENS, "a/\nb\n"), TOKENS, "line 1, 'a/', has no label"),
    ("tokens repeated", text(TOKENS, "a/b\nc/b\n"), TOKENS, "label 'b' 2 times"),
    ("tokens escape", text(TOKENS, "a\n\x1b[1mb\n"), TOKENS, "cannot be printed"),
    ("tokens latin-1", text(TOKENS, b"\xe4\nb\n"), TOKENS, "not UTF-8"),
    ("tokens many", text(TOKENS, "\n".join(map(str, range(2000)))), TOKENS, "at most 1000"),
    ("foreign object", weights(lambda _: {"model": Foreign()}), WEIGHTS, "holds more than tensors"),
    ("foreign pickle", text(WEIGHTS, pickle.dumps(Foreign())), WEIGHTS, "more than tensors"),
    ("weights empty", text(WEIGHTS, ""), WEIGHTS, "is empty"),
    (
        "weights cut",
        lambda f: text(WEIGHTS, (f / WEIGHTS).read_bytes()[:9000])(f),
        WEIGHTS,
        "whole",
    ),
    ("weights list", weights(lambda _: [torch.zeros(2)]), WEIGHTS, "holds no weights by name"),
    (
        "not a tensor",
        weights(lambda state: state.update({"proj.bias": 3})),
        WEIGHTS,
        "not a tensor",
    ),
    (
        "no head",
        weights(lambda s: {name: each for name, each in s.items() if "proj." not in name[:5]}),
        WEIGHTS,
        "has no head (proj.weight)",
    ),
    (
        "half a head",
        weights(lambda s: s.pop("proj.bias")),
        WEIGHTS,
        "lacks proj.",
    ),
    ("scalar", weights(lambda s: s.update({"proj.weight": torch.zeros(())})), WEIGHTS, "shape ()"),
    (
        "int8",
        weights(lambda state: {name: each.to(torch.int8) for name, each in state.items()}),
        WEIGHTS,
        "is int8; export the model from before",
    ),
    ("NaN", weights(lambda state: state["proj.bias"].fill_(np.nan)), WEIGHTS, "not finite"),
]


@pytest.mark.parametrize(
    ("change", "file", "message"), [pytest.param(*case, id=name) for name, *case in WRONG]
)
def test_one_sentence(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    file: str,
    message: str,
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    change(copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(copy))
    said = str(caught.value)
    assert said.startswith(f"{copy}/{file}: ")
    assert message in said
    assert "\n" not in said
    assert said.count(str(copy)) == 1
    assert len(said) - len(str(copy)) < 300
    assert not (tmp_path / "executed").exists()


def test_random_weights_are_the_same_for_a_seed() -> None:
    one, other = (random_state(SMALL, 9, seed=4) for _ in range(2))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert functional.relu(
        -one["modality_encoders.AUDIO.alibi_scale"]
    ).any()  # one scale is clamped
