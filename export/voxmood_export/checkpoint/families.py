"""The families of encoders, which a configuration names by its `model_type`."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import (
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)


@dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
        encoder: the class of the encoder in transformers.
        configuration: the class of its configuration.
    """

    encoder: type[PreTrainedModel]
    configuration: type[PretrainedConfig]


FAMILIES = {
    each.configuration.model_type: each
    for each in (
        Family(Wav2Vec2Model, Wav2Vec2Config),
        Family(HubertModel, HubertConfig),
        Family(WavLMModel, WavLMConfig),
    )
}
"""The supported families by `model_type`, which is also the prefix of their weights' names."""
