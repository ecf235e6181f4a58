"""The configuration of the Odyssey 2024 baselines, which only names its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import Wav2Vec2FeatureExtractor

from voxmood_export.checkpoint.files import CONFIG, CheckpointFiles

MODEL_TYPE = "ser"
PREFIX = "ssl_model"
ENCODERS: dict[str, dict[str, Any]] = {
    "microsoft/wavlm-large": {
        "model_type": "wavlm",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "conv_bias": False,
        "do_stable_layer_norm": True,
    }
}
"""The configurations of the encoders that `ssl_type` may name; the rest are WavLM's defaults."""

DIMENSIONS = {"arousal", "dominance", "valence"}
MAX_LAYERS = 8  # of the head


def translate(
    files: CheckpointFiles, config: Mapping[str, Any]
) -> tuple[dict[str, Any], Wav2Vec2FeatureExtractor]:
    """Return the configuration as one of WavLM, and the feature extractor that goes with it.

    Raises:
        CheckpointError: the configuration does not say what is needed.
    """
    encoder = config.get("ssl_type")
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise files.error(CONFIG, f"ssl_type is {encoder!r}; supported: {', '.join(ENCODERS)}.")
    for key in ("mean", "std"):
        value: Any = config.get(key)
        if type(value) not in (int, float) or (key == "std" and not value > 0):
            raise files.error(CONFIG, f"{key} is {value!r}; write that of the training audio.")
    layers = config.get("classifier_hidden_layers", 1)
    if type(layers) is not int or not 1 <= layers <= MAX_LAYERS:
        raise files.error(
            CONFIG, f"classifier_hidden_layers is {layers!r}; write 1 to {MAX_LAYERS}."
        )
    rate = config.get("sampling_rate", 16000)
    if rate != 16000:
        raise files.error(CONFIG, f"sampling_rate is {rate!r}; the encoder takes 16000.")
    names = config.get("id2label")
    found = {str(name).lower() for name in names.values()} if isinstance(names, dict) else set()
    task = config.get("problem_type")
    if task is None and found & DIMENSIONS:
        if not found <= DIMENSIONS:
            raise files.error(
                CONFIG, "mixes labels with dimensions in id2label; write its problem_type."
            )
        task = "regression"
    own = ("mean", "std", "id2label", "label2id", "auto_map", "architectures")
    kept = {key: config[key] for key in own if key in config}
    kept |= {"classifier_hidden_layers": layers, "problem_type": task}
    if names is None:
        kept["num_labels"] = config.get("num_classes")
    return ENCODERS[encoder] | kept, Wav2Vec2FeatureExtractor(do_normalize=False)
