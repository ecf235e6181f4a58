"""Checkpoints that people have, and the one sentence that each of them gets."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from voxmood.bundle.description import BundleFile, Precision, read_bundle
from voxmood_export import CheckpointError
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.export import describe

Change = Callable[[Path], Any]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1262\n"
CONFIG, EXTRACTOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"


def config(**values: Any) -> Change:
    return lambda folder: change_json(folder / CONFIG, values)


def extractor(**values: Any) -> Change:
    return lambda folder: change_json(folder / EXTRACTOR, values)


def change_json(path: Path, values: dict[str, Any]) -> None:
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: each for key, each in content.items() if each != "left out"}))


def labels(*names: Any, first: int = 0) -> Change:
    id2label = {str(index): name for index, name in enumerate(names, first)}
    return config(id2label=id2label, label2id="left out")


def text(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def gone(*names: str) -> Change:
    def apply(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return apply


def weight(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def apply(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS)

    return apply


def pickled(value: Any, *, by_torch: bool = True) -> Change:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        path = folder / "pytorch_model.bin"
        if by_torch:
            torch.save(value, path)
        else:
            path.write_bytes(pickle.dumps(value))

    return apply


def index(**shards: Any) -> Change:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(shards))

    return apply


def training(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "last.ckpt").touch()


def processor(content: Any) -> Change:
    def apply(folder: Path) -> None:
        (folder / EXTRACTOR).unlink()
        (folder / "processor_config.json").write_text(json.dumps(content))

    return apply


def all_as(kind: torch.dtype) -> Change:
    return weight(lambda state: state.update({name: t.to(kind) for name, t in state.items()}))


def fill(name: str, value: float) -> Change:
    return weight(lambda state: state[name].view(-1)[-1:].fill_(value))


# transformers 5 looks at the types of values when it reads them.
IS_4 = transformers.__version__.startswith("4.")
UNREADABLE = "network that cannot be" if IS_4 else "transformers cannot read it"

WRONG: list[tuple[str, Change, str, str]] = [  # name, change, file, what is said of it
    ("one label", labels("only"), CONFIG, "has one label"),
    ("num_labels 1", config(id2label="left out", num_labels=1), CONFIG, "has one label"),
    ("other type", config(model_type="bert"), CONFIG, "its model_type is 'bert'"),
    ("empty type", config(model_type=""), CONFIG, "its model_type is ''"),
    ("no type", config(model_type=None), CONFIG, "its model_type is None"),
    ("type of a number", config(model_type=5), CONFIG, "its model_type is 5"),
    ("ranking", config(problem_type="ranking"), CONFIG, "problem_type is 'ranking'"),
    ("repeated", labels("a", "b", "a", "c"), CONFIG, "'a' is 2 times"),
    ("numbers", labels(0, 1, 2, 3), CONFIG, 'write it as text, in "quotes"'),
    ("null", labels("a", None, "b", "c"), CONFIG, "label 1 in id2label is None"),
    ("newline", labels("a", "b\n", "c", "d"), CONFIG, "one line"),
    ("escape", labels("a", "\x1b[1m", "c", "d"), CONFIG, "cannot be printed"),
    ("surrogate", labels("a", "\ud800", "c", "d"), CONFIG, "cannot be printed"),
    ("empty label", labels("a", "", "c", "d"), CONFIG, "label 1 in id2label is empty"),
    ("blank label", labels("a", " ", "c", "d"), CONFIG, "label 1 in id2label is empty"),
    ("from 1", labels("a", "b", "c", "d", first=1), CONFIG, 'from "0" to "3"'),
    ("no numbers", config(id2label={"neu": 0, "hap": 1}), CONFIG, "number the labels"),
    ("label list", config(id2label=["a", "b", "c", "d"]), CONFIG, "must be an object"),
    ("no labels", config(id2label={}), CONFIG, "must be an object"),
    ("too few", labels("a", "b", "c"), CONFIG, "names 3 labels, but the weights are for 4"),
    ("too many", labels(*"abcde"), CONFIG, "names 5 labels, but the weights are for 4"),
    ("unnamed", config(id2label="left out"), CONFIG, "names 2 labels, but the weights are for 4"),
    ("thousands", labels(*map(str, range(2000))), CONFIG, "at most 1000"),
    ("epsilon text", config(layer_norm_eps="1e-5"), CONFIG, "layer_norm_eps is '1e-5'"),
    ("epsilon below 0", config(layer_norm_eps=-1), CONFIG, "write a small number"),
    ("epsilon true", config(layer_norm_eps=True), CONFIG, "write a small number"),
    ("sum text", config(use_weighted_layer_sum="yes"), CONFIG, "write true or false"),
    ("norm text", config(do_stable_layer_norm="no"), CONFIG, "write true or false"),
    ("crossed", config(label2id={"neu": 1, "hap": 0}), CONFIG, "'neu' is label 0 in id2label and"),
    ("config list", text(CONFIG, "[]"), CONFIG, "not a JSON object"),
    ("config null", text(CONFIG, "null"), CONFIG, "not a JSON object"),
    ("config latin-1", text(CONFIG, '{"a": "\xe4"}'.encode("latin-1")), CONFIG, "not UTF-8"),
    ("config binary", text(CONFIG, b"\x89PNG\r\n\x1a\n"), CONFIG, "not UTF-8"),
    ("config empty", text(CONFIG, ""), CONFIG, "is empty"),
    ("config cut", text(CONFIG, '{"a": '), CONFIG, "not valid JSON"),
    ("config nested", text(CONFIG, "[" * 100_000), CONFIG, "not valid JSON"),
    ("config of LFS", text(CONFIG, LFS), CONFIG, "git lfs pull"),
    ("no config", gone(CONFIG), CONFIG, "is missing"),
    ("architecture is text", config(architectures="Wav2Vec2Model"), CONFIG, "not supported"),
    ("quantized", config(quantization_config={"bits": 8}), CONFIG, "quantized"),
    ("sizes of text", config(hidden_size="64"), CONFIG, UNREADABLE),
    ("heads", config(num_attention_heads=5), CONFIG, "network that cannot be"),
    ("convolutions", config(conv_stride=[5, 2]), CONFIG, "transformers cannot read it"),
    ("no extractor", gone(EXTRACTOR), EXTRACTOR, "is missing"),
    ("extractor empty", text(EXTRACTOR, ""), EXTRACTOR, "is empty"),
    ("extractor list", text(EXTRACTOR, "[1]"), EXTRACTOR, "not a JSON object"),
    ("rate of text", extractor(sampling_rate="16000"), EXTRACTOR, "a whole number"),
    ("rate 0", extractor(sampling_rate=0), EXTRACTOR, "from 1000"),
    ("rate null", extractor(sampling_rate=None), EXTRACTOR, "sampling_rate is None"),
    ("rate of MHz", extractor(sampling_rate=16_000_000), EXTRACTOR, "to 384000"),
    ("normalize of text", extractor(do_normalize="yes"), EXTRACTOR, "true or false"),
    ("spectrogram", extractor(feature_size=80), EXTRACTOR, "feature_size is 80"),
    ("processor alone", processor({"processor_class": "P"}), EXTRACTOR, "is missing"),
    ("processor list", processor([]), "processor_config.json", "not a JSON object"),
    (
        "processor of images",
        processor({"feature_extractor": {"feature_extractor_type": "ViTFeatureExtractor"}}),
        "processor_config.json",
        "ViTFeatureExtractor is not supported",
    ),
    ("training", training, "", "training checkpoint (last.ckpt)"),
    ("weights empty", text(WEIGHTS, ""), WEIGHTS, "is empty"),
    ("weights of LFS", text(WEIGHTS, LFS), WEIGHTS, "git lfs pull"),
    ("weights of HTML", text(WEIGHTS, "<!DOCTYPE html><html></html>"), WEIGHTS, "copy or download"),
    ("no weights", gone(WEIGHTS), WEIGHTS, "is missing, and so is pytorch_model.bin"),
    ("int8", all_as(torch.int8), "", "is int8; export the model from before"),
    ("float8", all_as(torch.float8_e4m3fn), "", "is float8_e4m3fn; export"),
    ("NaN", fill("projector.weight", float("nan")), "", "projector.weight holds values that are"),
    ("infinity", fill("wav2vec2.encoder.layer_norm.bias", float("inf")), "", "not finite"),
    ("shape", weight(lambda s: s.update({"projector.bias": torch.zeros(7)})), "", "(7,)"),
    ("scalar", weight(lambda s: s.update({"classifier.weight": torch.zeros(())})), "", "shape ()"),
    ("foreign object", pickled(Path("a")), "pytorch_model.bin", "more than tensors"),
    ("foreign pickle", pickled(Path, by_torch=False), "pytorch_model.bin", "more than tensors"),
    ("module", pickled(torch.nn.Linear(2, 2)), "pytorch_model.bin", "more than tensors"),
    ("NumPy", pickled({"a": np.zeros(2)}), "pytorch_model.bin", "more than tensors"),
    (
        "arguments",
        pickled({"args": argparse.Namespace(a=1)}),
        "pytorch_model.bin",
        "more than tensors",
    ),
    (
        "nested",
        pickled({"state_dict": {"a": torch.zeros(2)}, "epoch": 3}),
        "pytorch_model.bin",
        "training checkpoint",
    ),
    ("list of tensors", pickled([torch.zeros(2)]), "pytorch_model.bin", "training checkpoint"),
    (
        "no shard",
        index(weight_map={"a": "model-00002-of-00002.safetensors"}),
        "model-00002-of-00002.safetensors",
        "is missing; model.safetensors.index.json lists it",
    ),
    *(
        (f"shard {name}", index(weight_map={"a": name}), f"{WEIGHTS}.index.json", "not a file name")
        for name in ("../a", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\n", None, 3)
    ),
    ("no map", index(metadata={}), f"{WEIGHTS}.index.json", "no weight_map"),
    ("map is list", index(weight_map=["a"]), f"{WEIGHTS}.index.json", "no weight_map"),
]


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [pytest.param(*case, id=name) for name, *case in WRONG],
)
def test_one_sentence(copy: Path, change: Change, file: str, message: str) -> None:
    change(copy)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(copy))
    said = str(caught.value)
    assert said.startswith(f"{copy}/{file}: " if file else f"{copy}: ")
    assert message in said
    assert "\n" not in said
    assert "damaged" not in said
    assert said.count(str(copy)) == 1
    assert len(said) - len(str(copy)) < 300


@pytest.mark.parametrize(
    "change",
    [
        labels("très fâché", "a, b", "\N{GRINNING FACE}", "0"),
        config(id2label="left out", num_labels=4),
        config(num_labels=3),  # transformers counts id2label
        config(label2id={"LABEL_0": 0, "LABEL_1": 1}),
        config(label2id={"neu": "0", "hap": "1"}),
        config(problem_type="single_label_classification"),
        extractor(sampling_rate="left out"),
        extractor(sampling_rate=8000),
        fill("wav2vec2.masked_spec_embed", float("nan")),
        text("README.md", "---\nlicense: \x1b[1mmit\n---\n"),
        text("README.md", b"---\nlicense: mit\xff\n---\n"),
    ],
)
def test_what_loads_makes_a_bundle_that_loads(copy: Path, change: Change) -> None:
    change(copy)
    bundle = describe(load_checkpoint(str(copy)))
    files = {"model.fp32.onnx": BundleFile(1, "0" * 64)}
    bundle = bundle.__class__(**bundle.__dict__ | {"precisions": {"fp32": Precision(files)}})
    (copy / "bundle.json").write_text(bundle.to_json(), encoding="utf-8")
    assert read_bundle(copy) == bundle


def test_other_sources(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"name of the checkpoint is empty"):
        load_checkpoint("")
    with pytest.raises(CheckpointError, match=r"config.json: is a file; name the folder"):
        load_checkpoint(str(copy / CONFIG))
    odd = copy.rename(tmp_path / "a\nb")
    with pytest.raises(CheckpointError, match=r"a\\nb': the folder's name holds"):
        load_checkpoint(str(odd))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("RepositoryNotFoundError", "401 Client Error.\n\nRequest ID", "check the name"),
        ("RevisionNotFoundError", "404 Client Error.\n\nRequest ID", "no revision 'v9'"),
        ("LocalEntryNotFoundError", "Cannot find\nan appropriate", "out of reach"),
        ("OfflineModeIsEnabled", "Cannot reach\nthe hub", "HF_HUB_OFFLINE"),
        (None, "Connection\nreset", "Connection"),
    ],
)
def test_what_the_hub_says_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str | None, error: str, message: str
) -> None:
    from huggingface_hub import errors

    kind = getattr(errors, name) if name else ConnectionError

    def refuse(*_: Any, **__: Any) -> str:
        raise kind.__new__(kind, error)  # their own need a response of the hub

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint("someone/modle", "v9")
    assert str(caught.value).startswith("someone/modle: ")
    assert "\n" not in str(caught.value)
