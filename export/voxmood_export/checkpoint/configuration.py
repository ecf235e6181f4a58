"""The JSON files of a checkpoint, which describe its network, labels and feature extractor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig, Wav2Vec2FeatureExtractor

from voxmood.bundle.description import MAX_LABELS, MAX_RATE
from voxmood_export.checkpoint import odyssey
from voxmood_export.checkpoint.families import FAMILIES, Family
from voxmood_export.checkpoint.files import (
    CONFIG,
    EXTRACTOR,
    PROCESSOR,
    CheckpointFiles,
    first_line,
)
from voxmood_export.errors import CheckpointError

REFUSED = {
    "Wav2Vec2BertForSequenceClassification": "it takes filter banks, not waveforms",
    "Data2VecAudioForSequenceClassification": "its positional convolutions are of another kind",
}
"""Architectures that look like supported ones, and why they are not supported."""

OTHER_TASKS = re.compile(r".*(ForCTC|ForPreTraining|ForXVector|ForAudioFrameClassification|Model)")
"""Architectures of transformers that do not label recordings."""

OWN_HEADS = ("EmotionModel", "SERModel")
"""Architectures of other authors whose names look like those."""

TASKS = {
    None: "classification",
    "single_label_classification": "classification",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}
"""What the `problem_type` of a configuration is called in a bundle."""

UNNAMED = re.compile(r"LABEL_\d+")
"""The names that transformers makes up."""

REQUIRED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "adapter_attn_dim": None,
}
"""The values of a configuration that the inference form relies on."""

MIN_RATE = 1000  # Hz; below it there is no speech


@dataclass(frozen=True)
class Settings:
    """What the configuration of a checkpoint says.

    Attributes:
        family: the family of its encoder.
        configuration: the configuration of the network.
        task: what its head does, one of `voxmood.bundle.description.OUTPUTS`.
        labels: the labels, or the names of a regression's values, in the order of the logits.
        own_code: the code that the configuration wants to run, or "".
        prefix: what the names of the encoder's weights begin with.
        extractor: the feature extractor, if the configuration decides it.
    """

    family: Family
    configuration: PretrainedConfig
    task: str
    labels: tuple[str, ...]
    own_code: str
    prefix: str
    extractor: Wav2Vec2FeatureExtractor | None = None


def read_settings(files: CheckpointFiles, names: Mapping[str, str] | None = None) -> Settings:
    """Return what `config.json` says.

    Args:
        files: the checkpoint's.
        names: another name for each label, or None.

    Raises:
        CheckpointError: `config.json` is damaged, or asks for something that is not supported; or
            the names are not for its labels.
    """
    config = files.read_json(CONFIG)
    if "speechbrain_interface" in config:
        raise files.error(
            CONFIG,
            "belongs to SpeechBrain, whose code normalizes what the head takes differently from "
            "release to release; export a checkpoint of transformers.",
        )
    if config.get("quantization_config") is not None:
        raise files.error(
            CONFIG, "says that the weights are quantized; export the model before quantization."
        )
    extractor = None
    prefix = str(config.get("model_type"))
    if config.get("model_type") == odyssey.MODEL_TYPE:
        prefix = odyssey.PREFIX
        config, extractor = odyssey.translate(files, config)
    family = FAMILIES[_family(files, config)]
    task = _task(files, config)
    labels = _labels(files, config, task, names)
    _check_values(files, config)
    # transformers 4 counts id2label where num_labels differs, and transformers 5 does not.
    counted = {key: value for key, value in config.items() if key != "num_labels"}
    counted["id2label"] = {str(index): label for index, label in enumerate(labels)}
    counted["label2id"] = {label: index for index, label in enumerate(labels)}
    try:
        configuration = family.configuration.from_dict(counted)
    except Exception as error:  # whatever transformers raises of values that it does not expect
        raise files.error(CONFIG, f"transformers cannot read it ({first_line(error)}).") from error
    for key, value in REQUIRED.items():
        found = getattr(configuration, key, value)
        if found != value:
            raise files.error(CONFIG, f"{key} is {found!r}; only {value!r} is supported.")
    own_code = config.get("auto_map")
    return Settings(
        family,
        configuration,
        task,
        labels,
        f"auto_map {own_code}" if own_code else "",
        prefix,
        extractor,
    )


def _check_values(files: CheckpointFiles, config: Mapping[str, Any]) -> None:
    """Check the values that transformers takes as they are, or refuses without saying why."""
    for key in ("do_stable_layer_norm", "use_weighted_layer_sum"):
        found = config.get(key, False)
        if type(found) is not bool:
            raise files.error(CONFIG, f"{key} is {found!r}; write true or false.")
    epsilon = config.get("layer_norm_eps", 1e-5)
    if type(epsilon) not in (int, float) or not 0 < epsilon < 1:
        raise files.error(
            CONFIG, f"layer_norm_eps is {epsilon!r}; write a small number, such as 1e-05."
        )


def _family(files: CheckpointFiles, config: Mapping[str, Any]) -> str:
    """Return the family of the encoder, after checking that the architecture can be supported."""
    names = config.get("architectures") or ["none"]
    name = ", ".join(map(str, names)) if isinstance(names, list) else str(names)
    family = config.get("model_type")
    why = REFUSED.get(name, "")
    if not isinstance(names, list) or len(names) != 1 or name == "none":
        why = "a checkpoint names one"
    elif name not in OWN_HEADS and OTHER_TASKS.fullmatch(name):
        why = "it does not label recordings"
    elif not why and family not in FAMILIES:
        why = f"its model_type is {family!r}"
    if why:
        raise files.error(
            CONFIG,
            f"the architecture {name} is not supported ({why}); supported are classifiers and "
            f"regressions on {', '.join(FAMILIES)}.",
        )
    return str(family)


def _task(files: CheckpointFiles, config: Mapping[str, Any]) -> str:
    """Return what the head does, as bundles call it."""
    kind = config.get("problem_type")
    if not isinstance(kind, str | None) or kind not in TASKS:
        known = ", ".join(repr(each) for each in TASKS if each)
        raise files.error(CONFIG, f"problem_type is {kind!r}; write one of {known}.")
    emotion_model = config.get("architectures") == ["EmotionModel"]
    if emotion_model and config.get("pooling_mode", "mean") != "mean":
        raise files.error(
            CONFIG,
            f"pooling_mode is {config['pooling_mode']!r}, but EmotionModel takes the mean; correct "
            "the one that is wrong.",
        )
    if kind is None and emotion_model:
        raise files.error(
            CONFIG,
            "does not say what the answers of EmotionModel mean; write its problem_type, such as "
            "'regression'.",
        )
    return TASKS[kind]


def _labels(
    files: CheckpointFiles, config: Mapping[str, Any], task: str, names: Mapping[str, str] | None
) -> tuple[str, ...]:
    """Return the labels in the order of the logits, by other names if there are some."""
    given = config.get("id2label")
    if given is None:
        count = config.get("num_labels", 2)  # the default of transformers
        if type(count) is not int or not 1 <= count <= MAX_LABELS:
            raise files.error(
                CONFIG, f"num_labels is {count!r}; write a whole number from 1 to {MAX_LABELS}."
            )
        given = {str(index): f"LABEL_{index}" for index in range(count)}
    else:
        _check_labels(files, config, given)
    labels = tuple(given[str(index)] for index in range(len(given)))
    if task != "regression" and len(labels) == 1:
        raise files.error(
            CONFIG,
            "has one label, among which there is nothing to choose; list all labels in id2label, "
            "or write 'regression' as the problem_type if the label is the name of a value.",
        )
    if names is not None:
        labels = renamed(files, labels, names)
    if task == "regression" and any(UNNAMED.fullmatch(label) for label in labels):
        raise files.error(
            CONFIG,
            "describes a regression and does not name its values; write their names into id2label, "
            f"or pass them: --labels {','.join(f'{label}=NAME' for label in labels[:3])}"
            f"{',…' if len(labels) > 3 else ''}.",
        )
    return labels


def renamed(
    files: CheckpointFiles, labels: tuple[str, ...], names: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the labels by their other names.

    Raises:
        CheckpointError: the names are not one for each label, and all different.
    """

    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"{files.source}: the new names of labels {what}.")

    if unknown := [label for label in names if label not in labels]:
        raise wrong(f"are for {', '.join(unknown)}, but the labels are {', '.join(labels)}")
    if missing := [label for label in labels if label not in names]:
        raise wrong(f"miss {', '.join(missing)}; name each of {', '.join(labels)}")
    renamed = tuple(names[label] for label in labels)
    for name in renamed:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise wrong(f"hold {name!r:.40}; write each as a text of one line")
    name, count = Counter(renamed).most_common(1)[0]
    if count > 1:
        raise wrong(f"give {name!r} to {count} labels; labels must differ")
    return renamed


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
