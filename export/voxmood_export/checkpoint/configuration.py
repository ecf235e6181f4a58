"""The JSON files of a checkpoint, which describe its network, labels and feature extractor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig, Wav2Vec2FeatureExtractor

from voxmood.bundle.description import MAX_LABELS, MAX_RATE
from voxmood_export.checkpoint.files import (
    CONFIG,
    EXTRACTOR,
    PROCESSOR,
    CheckpointFiles,
    first_line,
)
from voxmood_export.errors import CheckpointError
from voxmood_export.heads import ARCHITECTURES, Architecture

REFUSED = {
    "Wav2Vec2ForSpeechClassification": " (its head is code of its authors, not of transformers)",
    "EmotionModel": " (its head is code of its authors, not of transformers)",
    "Wav2Vec2BertForSequenceClassification": " (it takes filter banks, not waveforms)",
    "Data2VecAudioForSequenceClassification": " (its positional convolutions are of another kind)",
}
"""Architectures that look like supported ones, and why they are not supported."""

REQUIRED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "adapter_attn_dim": None,
}
"""The values of a configuration that the inference form relies on."""

MIN_RATE = 1000  # Hz; below it there is no speech


def read_network(files: CheckpointFiles) -> tuple[Architecture, PretrainedConfig]:
    """Return a checkpoint's architecture and the configuration of its network.

    Raises:
        CheckpointError: `config.json` is damaged, or asks for something that is not supported.
    """
    config = files.read_json(CONFIG)
    if "auto_map" in config:
        raise files.error(
            CONFIG,
            "wants to run code of its own (auto_map), which voxmood never does; save the model as "
            "one of the supported architectures.",
        )
    if config.get("quantization_config") is not None:
        raise files.error(
            CONFIG, "says that the weights are quantized; export the model before quantization."
        )
    names = config.get("architectures") or ["none"]
    if not isinstance(names, list) or len(names) != 1 or names[0] not in ARCHITECTURES:
        name = ", ".join(map(str, names)) if isinstance(names, list) else str(names)
        raise files.error(
            CONFIG,
            f"the architecture {name} is not supported{REFUSED.get(name, '')}; supported: "
            f"{', '.join(ARCHITECTURES)}.",
        )
    _check_task(files, config)
    architecture = ARCHITECTURES[names[0]]
    expected = architecture.configuration.model_type
    kind = config.get("model_type", expected)
    if kind != expected:
        raise files.error(
            CONFIG,
            f"model_type is {kind!r}, but the architecture {names[0]} is of the type {expected!r}; "
            "correct the one that is wrong.",
        )
    try:
        configuration = architecture.configuration.from_dict(config)
    except Exception as error:  # whatever transformers raises of values that it does not expect
        raise files.error(CONFIG, f"transformers cannot read it ({first_line(error)}).") from error
    for key, value in REQUIRED.items():
        found = getattr(configuration, key, value)
        if found != value:
            raise files.error(CONFIG, f"{key} is {found!r}; only {value!r} is supported.")
    for key in ("do_stable_layer_norm", "use_weighted_layer_sum"):
        found = getattr(configuration, key, False)
        if type(found) is not bool:
            raise files.error(CONFIG, f"{key} is {found!r}; write true or false.")
    epsilon = configuration.layer_norm_eps
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        raise files.error(
            CONFIG, f"layer_norm_eps is {epsilon!r}; write a small number, such as 1e-05."
        )
    return architecture, configuration


def _check_task(files: CheckpointFiles, config: Mapping[str, Any]) -> None:
    """Check that the head chooses one label among several."""
    task = config.get("problem_type")
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels")
    if task == "regression" or count == 1:
        why = "problem_type is 'regression'" if task == "regression" else "it has one label"
        raise files.error(
            CONFIG,
            f"describes a regression head ({why}), which this release does not support; export a "
            "classifier with two labels or more.",
        )
    if task not in (None, "single_label_classification"):
        raise files.error(
            CONFIG,
            f"problem_type is {task!r}; only 'single_label_classification' is supported.",
        )
    if labels is not None:
        _check_labels(files, config, labels)


def _check_labels(files: CheckpointFiles, config: Mapping[str, Any], labels: Any) -> None:
    def wrong(what: str) -> CheckpointError:
        return files.error(CONFIG, what)

    if not isinstance(labels, dict) or not labels:
        raise wrong('id2label must be an object of numbers and labels, such as {"0": "angry"}.')
    if labels.keys() != {str(index) for index in range(len(labels))}:
        keys = ", ".join(map(repr, sorted(labels)[:5]))
        raise wrong(
            f"id2label has the keys {keys}{', …' if len(labels) > 5 else ''}; number the labels "
            f'from "0" to "{len(labels) - 1}" in the order of the logits.'
        )
    if len(labels) > MAX_LABELS:
        raise wrong(f"id2label has {len(labels)} labels; at most {MAX_LABELS} are supported.")
    for key, label in labels.items():
        if not isinstance(label, str):
            raise wrong(f'label {key} in id2label is {label!r}; write it as text, in "quotes".')
        if not label.strip():
            raise wrong(f"label {key} in id2label is empty; write what it is called.")
        if not label.isprintable():
            raise wrong(
                f"label {key} in id2label, {label[:40]!r}, holds characters that cannot be "
                "printed; write a label of one line."
            )
    label, count = Counter(labels.values()).most_common(1)[0]
    if count > 1:
        raise wrong(f"the label {label!r} is {count} times in id2label; labels must differ.")
    numbers = config.get("label2id")
    for key, label in labels.items():
        number = numbers.get(label) if isinstance(numbers, dict) else None
        if number is not None and str(number) != key:
            raise wrong(
                f"{label!r} is label {key} in id2label and label {number} in label2id; correct "
                "the one that is wrong."
            )


def read_extractor(files: CheckpointFiles) -> Wav2Vec2FeatureExtractor:
    """Return a checkpoint's feature extractor.

    Raises:
        CheckpointError: its settings are missing, damaged or not supported.
    """
    name, settings = _settings(files)
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise files.error(name, f"the feature extractor {kind} is not supported.")
    size = settings.get("feature_size", 1)
    if size != 1:
        raise files.error(name, f"feature_size is {size!r}; only 1, a waveform, is supported.")
    rate = settings.get("sampling_rate", 16000)  # the default of transformers
    if type(rate) is not int or not MIN_RATE <= rate <= MAX_RATE:
        raise files.error(
            name,
            f"sampling_rate is {rate!r}; write the rate of the training audio in Hz, a whole "
            f"number from {MIN_RATE} to {MAX_RATE}.",
        )
    normalize = settings.get("do_normalize", True)
    if type(normalize) is not bool:
        raise files.error(name, f"do_normalize is {normalize!r}; write true or false.")
    return Wav2Vec2FeatureExtractor.from_dict(settings)


def _settings(files: CheckpointFiles) -> tuple[str, dict[str, Any]]:
    """Return the file with the feature extractor's settings, and the settings."""
    if files.has(PROCESSOR):
        settings = files.read_json(PROCESSOR).get("feature_extractor")
        if isinstance(settings, dict):
            return PROCESSOR, settings
    return EXTRACTOR, files.read_json(EXTRACTOR)
