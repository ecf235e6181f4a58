"""Checkpoints with random weights, for tests and for networks that cannot be downloaded.

    python -m voxmood_export.testing FOLDER [--seed N] [--audio DIR] [--bin]

Speed does not depend on the weights, and random ones show an error of a conversion, too. What they
cannot show is how well a trained model survives quantization.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Wav2Vec2FeatureExtractor

from voxmood.audio import Waveform
from voxmood_export.clips import generated_clips, recorded_clips
from voxmood_export.heads import ARCHITECTURES

LABELS = ("neu", "hap", "ang", "sad")
RATE = 16000

Settings = dict[str, Any]  # arguments of a configuration

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
SMALL: Settings = {  # for everyday tests, put over one of the others: few and narrow layers
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
    architecture: str = "Wav2Vec2ForSequenceClassification",
    do_normalize: bool = True,
    seed: int = 0,
    waveforms: list[Waveform] | None = None,
    old_names: bool = False,
) -> None:
    """Write a checkpoint folder as transformers would.

    Args:
        folder: the folder, which is made if it does not exist.
        settings: `LARGE` or `BASE`, with or without `SMALL` over it, or others.
        architecture: one of `ARCHITECTURES`.
        do_normalize: whether the feature extractor normalizes each clip.
        seed: the seed of the weights.
        waveforms: clips at 16 kHz. The last layer is scaled so that over them each logit has mean
            0 and standard deviation 1, since logits of random weights hardly vary. None takes
            generated clips.
        old_names: whether to write `pytorch_model.bin` with the names that weight norm had in 2021
            instead of safetensors.
    """
    torch.manual_seed(seed)
    kind = ARCHITECTURES[architecture]
    labels = {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
    model: Any = kind.network(kind.configuration(**(settings | labels))).eval()
    _randomize(model)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    label_layer = model.get_submodule(kind.head.label_layer)
    _spread_logits(model, label_layer, extractor, waveforms or generated_clips(RATE).waveforms)

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


def _randomize(model: nn.Module) -> None:
    """Change all weights whose default would hide a mistake."""
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
    label_layer: Any,
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
        label_layer.weight /= torch.tensor(spread, dtype=torch.float32)[:, None]
        label_layer.bias.copy_((label_layer.bias - torch.tensor(mean)) / torch.tensor(spread))


def main() -> None:
    """Run the command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="voxmood_export.testing", description=summary)
    parser.add_argument("folder", type=Path, help="Folder to write the checkpoint to.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the weights (default: 0).")
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="Folder of recordings on which the logits get mean 0 and standard deviation 1 "
        "(default: generated signals).",
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=12,
        help="Number of these recordings to use (default: %(default)s).",
    )
    parser.add_argument("--bin", action="store_true", help="Write pytorch_model.bin as in 2021.")
    parser.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        default="Wav2Vec2ForSequenceClassification",
        help="Class of the network (default: %(default)s).",
    )
    parser.add_argument("--base", action="store_true", help="Use the base size, with group norm.")
    parser.add_argument(
        "--small", action="store_true", help="Use few and narrow layers, for tests."
    )
    arguments = parser.parse_args()
    audio = arguments.audio
    make_checkpoint(
        arguments.folder,
        (BASE if arguments.base else LARGE) | (SMALL if arguments.small else {}),
        architecture=arguments.architecture,
        seed=arguments.seed,
        waveforms=recorded_clips(audio, RATE, arguments.clips).waveforms if audio else None,
        old_names=arguments.bin,
    )


if __name__ == "__main__":
    main()
