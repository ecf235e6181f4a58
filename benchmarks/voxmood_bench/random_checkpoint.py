"""Checkpoints with random weights: the full-size architecture where the real one is out of reach.

    python -m voxmood_bench.random_checkpoint FOLDER [--seed N] [--audio DIR] [--bin]

Speed does not depend on the weights, and an error of a conversion shows on random ones too. What
random weights cannot show is how well a trained model survives quantisation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from voxmood.audio import Waveform
from voxmood_export.verify import generated_clips, recorded_clips

LABELS = ("neu", "hap", "ang", "sad")
RATE = 16000

Settings = dict[str, Any]  # arguments of a configuration

FAMILIES: dict[str, tuple[Any, Any]] = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForSequenceClassification),
    "hubert": (HubertConfig, HubertForSequenceClassification),
    "wavlm": (WavLMConfig, WavLMForSequenceClassification),
}
BASE: Settings = {  # the sizes and kinds of superb/wav2vec2-base-superb-er and its like
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "classifier_proj_size": 256,
    "feat_extract_norm": "group",
    "conv_bias": False,
    "do_stable_layer_norm": False,
    "use_weighted_layer_sum": True,
}
LARGE: Settings = {  # of superb/wav2vec2-large-superb-er and its like
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "classifier_proj_size": 256,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "use_weighted_layer_sum": True,
}
SMALL: Settings = {  # for everyday tests: over one of the others, the same layers, few and narrow
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 24,
}


def make_checkpoint(
    folder: Path,
    settings: Settings,
    *,
    family: str = "wav2vec2",
    do_normalize: bool = True,
    seed: int = 0,
    waveforms: list[Waveform] | None = None,
    old_names: bool = False,
) -> None:
    """Writes a checkpoint folder as transformers would.

    Args:
        folder: made if it is not there.
        settings: `LARGE`, `BASE`, either with `SMALL` over it, or other ones.
        family: one of `FAMILIES`.
        do_normalize: whether the feature extractor normalises each clip.
        seed: of the weights.
        waveforms: at 16 kHz; the classifier is scaled so that over them each logit has mean 0 and
            spread 1, else logits of random weights hardly vary. None takes generated ones.
        old_names: write `pytorch_model.bin` with the weight-norm names of 2021 and not safetensors.
    """
    torch.manual_seed(seed)
    configuration, network = FAMILIES[family]
    labels = {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
    model = network(configuration(**(settings | labels))).eval()
    _randomise(model)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    _spread_logits(model, extractor, waveforms or generated_clips(RATE).waveforms)

    folder.mkdir(parents=True, exist_ok=True)
    extractor.save_pretrained(folder)
    if old_names:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        torch.save(
            {
                name.replace("parametrizations.weight.original0", "weight_g").replace(
                    "parametrizations.weight.original1", "weight_v"
                ): tensor
                for name, tensor in model.state_dict().items()
            },
            folder / "pytorch_model.bin",
        )
    else:
        model.save_pretrained(folder)


def _randomise(model: nn.Module) -> None:
    """Nothing may stay at a default that would hide a mistake."""
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d)):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
        if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, 0.0, 0.2)
    for name, parameter in model.named_parameters():
        if name == "layer_weights" or "gru_rel_pos" in name or "rel_attn_embed" in name:
            nn.init.normal_(parameter)


def _spread_logits(
    model: Any,
    extractor: Wav2Vec2FeatureExtractor,
    waveforms: list[Waveform],
) -> None:
    logits = []
    with torch.inference_mode():
        for waveform in waveforms:
            inputs = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
            logits.append(model(inputs.input_values).logits[0].double().numpy())
    mean, spread = np.mean(logits, axis=0), np.std(logits, axis=0)
    with torch.no_grad():
        classifier = model.classifier
        classifier.weight /= torch.tensor(spread, dtype=torch.float32)[:, None]
        classifier.bias.copy_((classifier.bias - torch.tensor(mean)) / torch.tensor(spread))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="voxmood_bench.random_checkpoint", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--audio", type=Path, help="recordings to scale the classifier on")
    parser.add_argument("--clips", type=int, default=12, help="how many of them (%(default)s)")
    parser.add_argument("--bin", action="store_true", help="an old pytorch_model.bin")
    parser.add_argument("--family", choices=FAMILIES, default="wav2vec2")
    parser.add_argument("--base", action="store_true", help="the base size, with group norm")
    parser.add_argument("--small", action="store_true", help="few and narrow layers, for tests")
    arguments = parser.parse_args()
    audio = arguments.audio
    make_checkpoint(
        arguments.folder,
        (BASE if arguments.base else LARGE) | (SMALL if arguments.small else {}),
        family=arguments.family,
        seed=arguments.seed,
        waveforms=recorded_clips(audio, RATE, arguments.clips).waveforms if audio else None,
        old_names=arguments.bin,
    )


if __name__ == "__main__":
    main()
