"""Checkpoints that load, and those that are refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForSequenceClassification

from voxmood_export import CheckpointError
from voxmood_export.checkpoint import Checkpoint, load_checkpoint
from voxmood_export.testing import LARGE, SMALL, make_checkpoint


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def shard_weights(folder: Path, weights: str, shards: int) -> None:
    """Write the weights as transformers does: one file, or shards and an index of them."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write = save_file if weights == "model.safetensors" else torch.save
    if shards == 1:
        write(state, folder / weights)
        return
    stem, suffix = weights.rsplit(".", 1)
    listed: dict[str, str] = {}
    for index, names in enumerate(list(state)[shard::shards] for shard in range(shards)):
        file = f"{stem}-{index + 1:05}-of-{shards:05}.{suffix}"
        write({name: state[name] for name in names}, folder / file)
        listed |= dict.fromkeys(names, file)
    index_file = folder / f"{weights}.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": listed}))


def weights_of(loaded: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights by the names that they have in the checkpoint."""
    encoder, head = loaded.model.encoder, loaded.model.head
    named = {f"wav2vec2.{name}": each for name, each in encoder.state_dict().items()}
    return named | head.state_dict()


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    mine, theirs = weights_of(one), weights_of(other)
    return mine.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[name]) for name, tensor in mine.items()
    )


@pytest.mark.parametrize("shards", [2, 5])
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_shards(checkpoint: Path, copy: Path, weights: str, shards: int) -> None:
    shard_weights(copy, weights, shards)
    from_transformers = Wav2Vec2ForSequenceClassification.from_pretrained(copy).state_dict()
    loaded = load_checkpoint(str(copy))
    assert same_weights(loaded, load_checkpoint(str(checkpoint)))
    torch.testing.assert_close(weights_of(loaded), dict(from_transformers))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(copy: Path, kind: torch.dtype) -> None:
    state = load_file(copy / "model.safetensors")
    save_file({name: each.to(kind) for name, each in state.items()}, copy / "model.safetensors")
    found = weights_of(load_checkpoint(str(copy)))
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].to(kind).float())


@pytest.mark.parametrize("old", [{}, {"preprocessor_config.json": {"do_normalize": True}}])
def test_settings_of_transformers_5(copy: Path, old: dict[str, Any]) -> None:
    extractor = {
        "do_normalize": False,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 8000,
    }
    processor = {"feature_extractor": extractor, "processor_class": "Wav2Vec2Processor"}
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps(processor))
    for name, content in old.items():
        (copy / name).write_text(json.dumps(content))
    found = load_checkpoint(str(copy)).extractor
    assert (found.do_normalize, found.sampling_rate) == (False, 8000)


def test_a_processor_of_transformers_4_has_no_settings(copy: Path) -> None:
    (copy / "processor_config.json").write_text('{"processor_class": "Wav2Vec2Processor"}')
    assert load_checkpoint(str(copy)).extractor.do_normalize


def test_loads_what_transformers_loads(checkpoint: Path) -> None:
    loaded = load_checkpoint(str(checkpoint))
    expected = Wav2Vec2ForSequenceClassification.from_pretrained(checkpoint).state_dict()
    found = weights_of(loaded)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():  # the classifier is scaled by measured logits
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    assert loaded.labels == ("neu", "hap", "ang", "sad")
    assert (loaded.name, loaded.revision, loaded.license) == ("checkpoint", "", "apache-2.0")


def test_old_bin_names(checkpoint: Path, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "old", LARGE | SMALL, old_names=True)
    assert not (tmp_path / "old" / "model.safetensors").exists()
    names = torch.load(tmp_path / "old" / "pytorch_model.bin", weights_only=True)
    assert any(name.endswith("weight_g") for name in names)
    found = weights_of(load_checkpoint(str(tmp_path / "old")))
    expected = weights_of(load_checkpoint(str(checkpoint)))
    for name, tensor in expected.items():  # the classifier is scaled by measured logits
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_training_only_weights_may_be_missing(copy: Path) -> None:
    change_weights(copy, lambda state: state.pop("wav2vec2.masked_spec_embed"))
    load_checkpoint(str(copy))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("classifier.weight"), "lacks classifier.weight"),
        (lambda s: s.pop("projector.bias"), "lacks projector.bias"),
        (lambda s: s.update({"head.x": torch.zeros(1)}), "has head.x"),
        (lambda s: s.update({"classifier.bias": torch.zeros(9)}), r"\(9,\).*\(4,\)"),
    ],
)
def test_wrong_weights(copy: Path, change: Callable[[Any], Any], message: str) -> None:
    change_weights(copy, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(str(copy))
    assert str(copy) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architectures": ["Wav2Vec2ForCTC"]}, "Wav2Vec2ForCTC is not supported .*not label"),
        ({"architectures": ["Wav2Vec2ForXVector"]}, "it does not label recordings"),
        ({"architectures": None}, "none is not supported"),
        ({"speechbrain_interface": "CustomEncoderWav2vec2Classifier"}, "belongs to SpeechBrain"),
        ({"model_type": "whisper"}, "its model_type is 'whisper'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"architectures": ["Data2VecAudioForSequenceClassification"]}, "of another kind"),
        ({"architectures": ["Wav2Vec2BertForSequenceClassification"]}, "filter banks"),
        ({"num_hidden_layers": 4}, "lacks"),
    ],
)
def test_wrong_configuration(copy: Path, values: dict[str, Any], message: str) -> None:
    change_config(copy, **values)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(copy))


def test_truncated_safetensors(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("damage", ["truncated", "text", "code"])
def test_bad_bin(copy: Path, damage: str) -> None:
    path = copy / "pytorch_model.bin"
    torch.save(load_file(copy / "model.safetensors"), path)
    (copy / "model.safetensors").unlink()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "text":
        path.write_text("not a checkpoint")
    else:
        path.write_bytes(pickle.dumps(Path))  # anything that is not tensors
    with pytest.raises(CheckpointError, match=r"not a whole|more than tensors"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(str(copy))


def test_not_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(str(copy / "gone"))
    with pytest.raises(CheckpointError, match="has no revision"):
        load_checkpoint(str(copy), revision="main")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_hub_id(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, shards: int
) -> None:
    hub = shutil.copytree(checkpoint, tmp_path / "hub")
    shard_weights(hub, weights, shards)
    (hub / "optimizer.pt").touch()
    snapshot = tmp_path / "0123abc"  # as the hub's cache names it
    snapshot.mkdir()

    def download(source: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert (source, revision) == ("someone/model", "main")
        for path in hub.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    loaded = load_checkpoint("someone/model", "main")
    assert (loaded.name, loaded.revision) == ("someone/model", "0123abc")
    assert same_weights(loaded, load_checkpoint(str(checkpoint)))
    assert {path.name for path in snapshot.iterdir()} == {
        path.name for path in hub.iterdir() if path.name != "optimizer.pt"
    }
