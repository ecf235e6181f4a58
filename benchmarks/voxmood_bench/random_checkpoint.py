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
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from voxmood.audio import Waveform
from voxmood_export.verify import generated_clips, recorded_clips

LABELS = ("neu", "hap", "ang", "sad")
RATE = 16000

LARGE: dict[str, Any] = {  # as superb/wav2vec2-large-superb-er
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "classifier_proj_size": 256,
}
SMALL: dict[str, Any] = {  # for everyday tests: the same layers, few and narrow
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 24,
}
LAYER_NORM: dict[str, Any] = {
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "use_weighted_layer_sum": True,
}


def make_checkpoint(
    folder: Path,
    size: dict[str, Any],
    *,
    seed: int = 0,
    waveforms: list[Waveform] | None = None,
    old_names: bool = False,
) -> None:
    """Writes a checkpoint folder as transformers would.

    Args:
        folder: made if it is not there.
        size: `LARGE`, `SMALL`, or other arguments of `Wav2Vec2Config`.
        seed: of the weights.
        waveforms: at 16 kHz; the classifier is scaled so that over them each logit has mean 0 and
            spread 1, else logits of random weights hardly vary. None takes generated ones.
        old_names: write `pytorch_model.bin` with the weight-norm names of 2021 and not safetensors.
    """
    torch.manual_seed(seed)
    settings = LAYER_NORM | {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**(settings | size))).eval()
    for module in model.modules():  # nothing may stay at a default that hides a mistake
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
    nn.init.normal_(model.layer_weights)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
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


def _spread_logits(
    model: Wav2Vec2ForSequenceClassification,
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
    parser.add_argument("--small", action="store_true", help="the size of the everyday tests")
    arguments = parser.parse_args()
    audio = arguments.audio
    make_checkpoint(
        arguments.folder,
        SMALL if arguments.small else LARGE,
        seed=arguments.seed,
        waveforms=recorded_clips(audio, RATE, arguments.clips).waveforms if audio else None,
        old_names=arguments.bin,
    )


if __name__ == "__main__":
    main()
