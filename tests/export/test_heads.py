"""A head is a class and a row in `ARCHITECTURES`; everything else takes it from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from near import near
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

import voxmood
from voxmood_export import CheckpointError, export_bundle
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.clips import generated_clips
from voxmood_export.heads import ARCHITECTURES, Architecture, Head
from voxmood_export.network.linear import LinearLayer
from voxmood_export.testing import LARGE, SMALL, make_checkpoint


class GeluNetwork(Wav2Vec2PreTrainedModel):  # type: ignore[misc]
    """The last layer's mean, a dense layer, a GELU and an output layer."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.dense = nn.Linear(config.hidden_size, 20)
        self.out = nn.Linear(20, config.num_labels)
        self.post_init()

    def forward(self, input_values: Tensor) -> SequenceClassifierOutput:
        pooled = self.wav2vec2(input_values).last_hidden_state.mean(1)
        return SequenceClassifierOutput(logits=self.out(gelu(self.dense(pooled))))


class GeluHead(Head):
    label_layer = "out"
    embedding_bias = "dense.bias"
    embedding_width = 20

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.dense = LinearLayer.from_torch(model.dense)
        self.out = LinearLayer.from_torch(model.out)

    def forward(self, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        embedding = self.dense(means[-1][:, 0])
        logits = self.out(gelu(embedding))
        return logits, logits.softmax(-1), embedding


@pytest.fixture
def with_gelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    row = Architecture(GeluNetwork, Wav2Vec2Config, GeluHead)
    monkeypatch.setitem(ARCHITECTURES, "GeluNetwork", row)
    make_checkpoint(tmp_path / "checkpoint", LARGE | SMALL, architecture="GeluNetwork")
    return tmp_path / "checkpoint"


def test_a_head_of_another_kind(with_gelu: Path, tmp_path: Path) -> None:
    export_bundle(with_gelu, tmp_path / "bundle")
    original = load_checkpoint(str(with_gelu))
    single, int8 = (voxmood.load(tmp_path / "bundle", precision=p) for p in ("fp32", "int8"))
    assert int8.bundle.precisions["int8"].measured["sqnr_db"] > 12
    for clip in generated_clips(16000).waveforms:
        inputs = original.extractor(clip, sampling_rate=16000, return_tensors="pt")
        with torch.inference_mode():
            expected = original.model(inputs.input_values).logits[0].numpy()
        prediction = single.predict(clip, sampling_rate=16000)
        assert prediction.logits == near(expected)
        assert np.shape(prediction.embedding) == (20,)


def test_its_labels_are_counted(with_gelu: Path) -> None:
    config = with_gelu / "config.json"
    config.write_text(config.read_text().replace('"3": "sad"', '"3": "sad", "4": "bored"'))
    config.write_text(config.read_text().replace('"sad": 3', '"sad": 3, "bored": 4'))
    with pytest.raises(CheckpointError, match="names 5 labels, but the weights are for 4"):
        load_checkpoint(str(with_gelu))
