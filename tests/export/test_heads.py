"""Every kind of head, in the layout of checkpoints that people have, against its equations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
import torch
from exact import error, limit, normalized
from layouts import logits_of
from near import LAYER, near, terms
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import AutoModel, AutoModelForAudioClassification, PretrainedConfig
from variations import first_of

import voxmood
from voxmood.comparison import metrics
from voxmood_export import CheckpointError, export_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.checkpoint import odyssey as translation
from voxmood_export.clips import generated_clips
from voxmood_export.heads import HEADS
from voxmood_export.heads.base import Head, HeadForm
from voxmood_export.heads.dense_tanh import DenseOutProj
from voxmood_export.heads.odyssey import Odyssey
from voxmood_export.network.linear import LinearLayer
from voxmood_export.testing import LARGE, LAYOUTS, SMALL, Layout, make_checkpoint

RATE = 16000
POOLED = ["soxan-hubert-max", "soxan-hubert-sum"]
KINDS = [*layouts.DENSE, "soxan-wav2vec2-sum"]
DENSE = [name for name, layout in LAYOUTS.items() if issubclass(layout.head, DenseOutProj)]


def weights_of(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    state: dict[str, Tensor] = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return state


def dense_tanh(folder: Path, waveforms: list[np.ndarray], dtype: torch.dtype) -> np.ndarray:
    """Logits by the published equations, on the encoder as transformers loads it."""
    config = json.loads((folder / "config.json").read_text())
    state = weights_of(folder)
    output = "out_proj" if "classifier.out_proj.weight" in state else "output"
    encoder: Any = AutoModel.from_pretrained(folder).eval().to(dtype)
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    rows = []
    for waveform in waveforms:
        with torch.inference_mode():
            hidden = encoder(normalized(waveform).to(dtype)[None]).last_hidden_state[0]
            mode = config.get("pooling_mode", "mean")
            pooled = {"mean": hidden.mean(0), "sum": hidden.sum(0), "max": hidden.max(0)[0]}[mode]
            dense = state["classifier.dense.weight"] @ pooled + state["classifier.dense.bias"]
            logits = state[f"classifier.{output}.weight"] @ torch.tanh(dense)
        rows.append((logits + state[f"classifier.{output}.bias"]).numpy())
    return np.stack(rows)


def check_equations(folder: Path) -> None:
    """Check that a `bundle` and its batches equal the equations on a `checkpoint`."""
    model = voxmood.load(folder / "bundle", precision="fp32")
    clips = generated_clips(RATE)
    expected, rounded = (
        dense_tanh(folder / "checkpoint", clips, kind) for kind in (torch.float64, torch.float32)
    )
    batch = np.stack([p.logits for p in model.predict_batch(clips, sampling_rate=RATE)])
    for found in (logits_of(folder / "bundle", "fp32", clips), batch):
        print(f"{folder.name}: {error(found, expected):.1e} of the spread")
        assert error(found, expected) < limit(rounded, expected)


@pytest.mark.parametrize("name", first_of(dict.fromkeys([*KINDS, *DENSE]), len(KINDS)))
def test_fp32_and_its_batches_equal_the_equations(
    name: str, exported: Callable[[str], Path]
) -> None:
    check_equations(exported(name))


@pytest.mark.parametrize("name", first_of(["ehcalabres", "audeering"]))
def test_weights_with_the_names_of_2021(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    make_checkpoint(folder, LARGE | SMALL, architecture=name, old_names=True)
    export_bundle(folder, tmp_path / "bundle", precisions=["fp32"])
    check_equations(tmp_path)


@pytest.mark.parametrize("name", first_of(["audeering", "ehcalabres", *POOLED], 2))
def test_int8_and_fp16_stay_close(
    name: str, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = exported(name) / "bundle"
    export_bundle(exported(name) / "checkpoint", tmp_path / "half", precisions=["fp16"])
    clips = generated_clips(RATE)
    exact = logits_of(bundle, "fp32", clips)
    task = voxmood.load(bundle).bundle.task
    assert metrics.sqnr(exact, logits_of(tmp_path / "half", "fp16", clips), task) > 25
    assert metrics.sqnr(exact, logits_of(bundle, "int8", clips), task) > 12


def test_a_regression_has_values_and_no_probabilities(exported: Callable[[str], Path]) -> None:
    folder = exported("audeering")
    for precision in ("fp32", "int8"):
        model = voxmood.load(folder / "bundle", precision=precision)
        (clip, *_) = generated_clips(RATE)
        prediction = model.predict(clip, sampling_rate=RATE)
        assert (prediction.label, prediction.probabilities) == (None, None)
        assert list(prediction.values or {}) == ["arousal", "dominance", "valence"]
        assert list((prediction.values or {}).values()) == prediction.logits.tolist()
        # The last layer on the embedding gives the values.
        state = weights_of(folder / "checkpoint")
        weight, bias = (state[f"classifier.out_proj.{key}"] for key in ("weight", "bias"))
        if precision == "fp32":
            values = weight.numpy() @ prediction.embedding + bias.numpy()
            size = terms(weight.numpy(), prediction.embedding)
            assert prediction.logits == near(values, LAYER, size)
    measured = model.bundle.precisions["int8"].measured
    assert measured["ccc"].keys() == {"arousal", "dominance", "valence"}
    assert "label_agreement" not in measured


def test_transformers_replaces_the_head_of_ehcalabres_by_random_weights(
    exported: Callable[[str], Path],
) -> None:
    folder = exported("ehcalabres") / "checkpoint"
    trained = weights_of(folder)
    for name, tensor in load_checkpoint(str(folder)).model.head.state_dict().items():
        assert torch.equal(tensor, trained[name])
    found = [AutoModelForAudioClassification.from_pretrained(folder) for _ in range(2)]
    random = [model.state_dict()["classifier.weight"] for model in found]
    assert not torch.equal(*random)
    assert not any("classifier.dense" in name for name in found[0].state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("classifier.dense.bias"),
            "lacks classifier.dense.bias, unlike",
        ),
        (lambda s: s.update({"age.dense.bias": torch.zeros(3)}), "has age.dense.bias, unlike"),
        (
            lambda s: s.update({"classifier.fc.bias": s.pop("classifier.dense.bias")}),
            "lacks classifier.dense.bias and has classifier.fc.bias",
        ),
        (
            lambda s: s.update({"classifier.dense.weight": torch.zeros(64, 32)}),
            r"classifier.dense.weight has the shape \(64, 32\), but .* asks for \(64, 64\)",
        ),
        (
            lambda s: s.update(
                {
                    "projector.weight": torch.zeros(24, 64),
                    "projector.bias": torch.zeros(24),
                    "classifier.weight": torch.zeros(3, 24),
                    "classifier.bias": torch.zeros(3),
                }
            ),
            "two heads at once, the SUPERB head and the head with classifier.dense and",
        ),
    ],
)
@pytest.mark.parametrize("name", first_of(["EmotionModel", "audeering"]))
def test_no_wrong_guess(
    name: str, change: Callable[[dict[str, Tensor]], Any], message: str, tmp_path: Path
) -> None:
    settings = LARGE | SMALL | {"use_weighted_layer_sum": False}
    make_checkpoint(tmp_path, settings, architecture=name)
    state = weights_of(tmp_path)
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(str(tmp_path))
    own_code = name == "EmotionModel" and ("lacks" in message or "has age" in message)
    assert ("code of its own" in str(caught.value)) is own_code


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"scorer.0.bias": 32, "scorer.2.bias": 4}, "with scorer.0.bias, scorer.2.bias; export"),
        ({"age.bias": 1}, "a head that is not known, with age.bias; export/README.md says how"),
        ({}, "lacks classifier.bias, classifier.weight, projector.bias and 1 more, unlike"),
        ({"projector.bias": 24}, "lacks classifier.bias, .*, unlike .* the SUPERB head"),
    ],
)
@pytest.mark.parametrize("name", first_of(["Wav2Vec2ForSequenceClassification", "audeering"]))
def test_a_head_that_is_not_known(
    name: str, weights: dict[str, int], message: str, tmp_path: Path
) -> None:
    settings = LARGE | SMALL | {"use_weighted_layer_sum": False}
    make_checkpoint(tmp_path, settings, architecture=name)
    state = {key: x for key, x in weights_of(tmp_path).items() if key.startswith("wav2vec2.")}
    state |= {key: torch.zeros(size) for key, size in weights.items()}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(tmp_path))


CONFIG: list[tuple[str, dict[str, Any], str]] = [  # layout, what its configuration says, message
    ("ehcalabres", {"pooling_mode": "attention"}, "pooling_mode is 'attention'; write one of mean"),
    ("ehcalabres", {"pooling_mode": None}, "pooling_mode is None"),
    ("ehcalabres", {"pooling_mode": ["mean"]}, r"pooling_mode is \['mean'\]"),
    ("EmotionModel", {"pooling_mode": "max"}, "EmotionModel takes the mean"),
    ("EmotionModel", {"problem_type": None}, "write its problem_type"),
    ("audeering", {"id2label": None}, "does not name its values.*--labels LABEL_0=NAME,LABEL_1"),
    ("audeering", {"problem_type": ["regression"]}, r"problem_type is \['regression'\]"),
    ("audeering", {"problem_type": "ranking"}, "problem_type is 'ranking'; write one of"),
    ("audeering", {"id2label": {"0": "a"}}, "names 1 labels, but the weights are for 3"),
    ("ehcalabres", {"id2label": {"0": "a"}}, "has one label"),
    ("ehcalabres", {"id2label": None, "num_labels": 1}, "has one label"),
    ("ehcalabres", {"id2label": None, "num_labels": -1}, "num_labels is -1"),
    ("ehcalabres", {"id2label": None, "num_labels": "4"}, "num_labels is '4'"),
]


@pytest.mark.parametrize(("name", "values", "message"), CONFIG)
def test_wrong_configurations(
    name: str, values: dict[str, Any], message: str, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(exported(name) / "checkpoint", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    if "id2label" in values:
        content.pop("label2id")
    content |= values
    for key in ("id2label", "problem_type"):
        if content.get(key, "") is None:
            del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/config.json: ")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"neu": "neutral"}, "miss hap, ang, sad; name each of neu, hap, ang, sad"),
        ({"neu": "a", "hap": "b", "ang": "c", "sad": "d", "joy": "e"}, "are for joy, but"),
        ({"neu": "a", "hap": "b", "ang": "a", "sad": "d"}, "give 'a' to 2 labels"),
        ({"neu": "a", "hap": "", "ang": "c", "sad": "d"}, "hold ''; write each"),
        ({"neu": "a", "hap": "b\n", "ang": "c", "sad": "d"}, "text of one line"),
    ],
)
def test_wrong_names_of_labels(checkpoint: Path, names: dict[str, str], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(checkpoint), labels=names)


def test_other_names_of_labels(checkpoint: Path, tmp_path: Path) -> None:
    from voxmood.cli import main

    names = "neu=neutral,hap=happy,ang=angry,sad=sad"
    command = ["export", str(checkpoint), str(tmp_path / "bundle"), "--precisions", "fp32"]
    assert main([*command, "--labels", names]) == 0
    assert voxmood.load(tmp_path / "bundle").labels == ("neutral", "happy", "angry", "sad")
    for wrong in ("neu=a,neu=b", "neu", "neu=", "=a", ","):
        with pytest.raises(SystemExit):
            main([*command, "--labels", wrong])


@pytest.mark.parametrize("bounds", first_of([["--min-agreement", "0.99", "--min-sqnr", "30"], []]))
@pytest.mark.parametrize("name", first_of(["audeering", "ehcalabres"]))
def test_the_command_says_what_it_measured(
    name: str, bounds: list[str], exported: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from voxmood.cli import main

    names = [str(exported(name) / "checkpoint"), str(tmp_path / "bundle")]
    assert main(["export", *names, *bounds, "--json", str(tmp_path / "facts.json")]) == 0
    printed = capsys.readouterr().out
    for precision in ("fp32", "int8"):
        (line,) = [line for line in printed.splitlines() if line.startswith(precision)]
        assert ("CCC arousal" if name == "audeering" else "same label on") in line
    assert json.loads((tmp_path / "facts.json").read_text())["task"] == (
        "regression" if name == "audeering" else "classification"
    )


def test_names_for_a_regression_without_them(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, LARGE | SMALL, architecture="audeering")
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    for key in ("id2label", "label2id"):
        content.pop(key)
    path.write_text(json.dumps(content | {"num_labels": 3}))
    names = {"LABEL_0": "arousal", "LABEL_1": "dominance", "LABEL_2": "valence"}
    assert load_checkpoint(str(tmp_path), labels=names).labels == tuple(names.values())


def test_a_regression_of_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(
        "Wav2Vec2ForSequenceClassification",
        "wav2vec2",
        labels=("valence",),
        settings={"problem_type": "regression"},
    )
    monkeypatch.setitem(LAYOUTS, "one", layout)
    make_checkpoint(tmp_path / "checkpoint", LARGE | SMALL, architecture="one")
    export_bundle(tmp_path / "checkpoint", tmp_path / "bundle", precisions=["fp32"])
    (clip, *_) = generated_clips(RATE)
    prediction = voxmood.load(tmp_path / "bundle").predict(clip, sampling_rate=RATE)
    assert list(prediction.values or {}) == ["valence"]


def test_multilabel_probabilities_are_sigmoids(several: Path) -> None:
    clips = generated_clips(RATE)
    long = np.tile(clips[-1], 5)  # which is labeled in windows
    for precision in ("fp32", "int8"):
        model = voxmood.load(several, precision=precision)
        assert model.bundle.task == "multilabel"
        for clip in (*clips, long):
            prediction = model.predict(clip, sampling_rate=RATE)
            sigmoid = 1 / (1 + np.exp(-prediction.logits.astype(np.float64)))
            assert list(prediction.numbers.values()) == pytest.approx(sigmoid, abs=1e-6)


SER = {"mean": -8.3e-05, "std": 0.085, "classifier_hidden_layers": 2, "num_buckets": 32}


def odyssey(folder: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> Path:
    """A checkpoint in the layout of the Odyssey baselines, on a small encoder."""
    small = LARGE | SMALL | {"conv_bias": False, "max_bucket_distance": 40, "num_buckets": 32}
    layout = Layout("SERModel", "wavlm", Odyssey, names, SER, "ssl_model")
    monkeypatch.setitem(LAYOUTS, "odyssey", layout)
    encoder = {**small, "model_type": "wavlm"}
    monkeypatch.setitem(translation.ENCODERS, "microsoft/wavlm-large", encoder)
    make_checkpoint(folder, small, architecture="odyssey", do_normalize=False)
    content = {
        "architectures": ["SERModel"],
        "auto_map": {"AutoModelForAudioClassification": "pipeline_utils.SERModel"},
        "model_type": "ser",
        "ssl_type": "microsoft/wavlm-large",
        "hidden_size": 64,
        "num_classes": len(names),
        "id2label": {str(index): name for index, name in enumerate(names)},
        "sampling_rate": 16000,
        **SER,
    }
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "preprocessor_config.json").unlink()
    return folder


@pytest.mark.parametrize("names", first_of([("arousal", "dominance", "valence"), ("Angry", "Sad")]))
def test_odyssey_baselines(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = odyssey(tmp_path / "checkpoint", monkeypatch, names)
    export_bundle(folder, tmp_path / "bundle")
    model = voxmood.load(tmp_path / "bundle", precision="fp32")
    assert model.bundle.task == ("regression" if len(names) == 3 else "classification")
    assert model.bundle.normalization == "constant"
    assert model.bundle.precisions["int8"].measured["sqnr_db"] > 12
    state = weights_of(folder)
    encoder: Any = load_checkpoint(str(folder)).model.encoder  # of transformers, in evaluation mode
    clips = generated_clips(RATE)
    rows = []
    for clip in clips:
        values = (clip - SER["mean"]) / (SER["std"] + 1e-6)
        with torch.inference_mode():
            h = encoder(torch.tensor(values, dtype=torch.float32)[None]).last_hidden_state[0]
            weight, bias = (state[f"pool_model.sap_linear.{key}"] for key in ("weight", "bias"))
            hidden = torch.tanh(h @ weight.T + bias)
            a = (hidden @ state["pool_model.attention"]).softmax(0)
            mean = (a * h).sum(0)
            x = torch.cat([mean, ((a * h**2).sum(0) - mean**2).clamp(min=1e-5).sqrt()])
            for number in range(2):
                dense, norm = (f"ser_model.fc.{number}.{part}" for part in (0, 1))
                x = state[f"{dense}.weight"] @ x + state[f"{dense}.bias"]
                x = torch.nn.functional.layer_norm(
                    x, x.shape, state[f"{norm}.weight"], state[f"{norm}.bias"]
                ).relu()
            weight, bias = (state[f"ser_model.out.0.{key}"] for key in ("weight", "bias"))
            rows.append((weight @ x + bias).numpy())
    expected = np.stack(rows)
    single = np.stack([model.predict(clip, sampling_rate=RATE).logits for clip in clips])
    batch = np.stack([p.logits for p in model.predict_batch(clips, sampling_rate=RATE)])
    for found in (single, batch):
        assert found == near(expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ssl_type": "facebook/hubert-large"}, "ssl_type is 'facebook/hubert-large'; supported"),
        ({"std": 0}, "std is 0; write that of the training audio"),
        ({"mean": "0"}, "mean is '0'"),
        ({"classifier_hidden_layers": 0}, "classifier_hidden_layers is 0"),
        ({"sampling_rate": 8000}, "the encoder takes 16000"),
        ({"id2label": {"0": "arousal", "1": "Sad"}}, "mixes labels with dimensions"),
        ({"classifier_hidden_layers": 1}, "has ser_model.fc.1.0.bias"),
    ],
)
def test_wrong_odyssey_baselines(
    values: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = odyssey(tmp_path / "checkpoint", monkeypatch, ("Angry", "Sad"))
    content = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(folder))


class GeluHead(Head):
    """The last layer's mean, a dense layer, a GELU and an output layer."""

    title = "a head of a test"
    label_layer = "answer"

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.before = nn.Linear(config.hidden_size, 20)
        self.answer = nn.Linear(20, config.num_labels)

    def forward(self, states: Any) -> Tensor:
        logits: Tensor = self.answer(gelu(self.before(states[-1].mean(1))))
        return logits

    def form(self, task: str) -> HeadForm:
        return GeluForm(self, task)


class GeluForm(HeadForm):
    corrected = "logits", "out.bias"
    embedding_width = 20

    def __init__(self, head: GeluHead, task: str) -> None:
        super().__init__(task)
        self.dense = LinearLayer.from_torch(head.before)
        self.out = LinearLayer.from_torch(head.answer)

    def answer(self, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
        embedding = gelu(self.dense(pooled[-1][:, 0]))
        return self.out(embedding), embedding


def test_a_head_is_a_class_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxmood_export.checkpoint.loading.HEADS", [*HEADS, GeluHead])
    layout = Layout("GeluNetwork", "wav2vec2", GeluHead)
    monkeypatch.setitem(LAYOUTS, "gelu", layout)
    make_checkpoint(tmp_path / "checkpoint", LARGE | SMALL, architecture="gelu")
    export_bundle(tmp_path / "checkpoint", tmp_path / "bundle")
    int8 = voxmood.load(tmp_path / "bundle", precision="int8")
    assert int8.bundle.precisions["int8"].measured["sqnr_db"] > 12
    (clip, *_) = generated_clips(RATE)
    assert int8.predict(clip, sampling_rate=RATE).embedding.shape == (20,)
