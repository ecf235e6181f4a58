"""Checkpoints with random weights, for tests and for networks that cannot be downloaded.

    python -m voxmood_export.testing FOLDER [--seed N] [--audio DIR] [--bin]

Speed does not depend on the weights, and random ones show an error of a conversion, too. What they
cannot show is how well a trained model survives quantization.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    HubertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMForSequenceClassification,
)

from voxmood.audio import Waveform
from voxmood_export.checkpoint.configuration import TASKS
from voxmood_export.checkpoint.families import FAMILIES
from voxmood_export.clips import generated_clips, recorded_clips
from voxmood_export.heads.base import Head
from voxmood_export.heads.dense_tanh import POOLING, DenseOutProj, DenseOutput
from voxmood_export.heads.superb import Superb
from voxmood_export.network.original import OriginalNetwork

LABELS = ("neu", "hap", "ang", "sad")
DIMENSIONS = ("arousal", "dominance", "valence")
RATE = 16000
LOUD = 30.0  # times as loud as the others are the outliers of `add_outliers`

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


@dataclass(frozen=True)
class Layout:
    """A kind of checkpoint that people have.

    Attributes:
        architecture: the architecture that its configuration names.
        family: the family of its encoder, one of `FAMILIES`.
        head: the kind of its head.
        labels: its labels, or the names of its values.
        settings: what its configuration says beside sizes.
        prefix: what the names of the encoder's weights begin with, if it is not the family.
    """

    architecture: str
    family: str
    head: type[Head] = Superb
    labels: tuple[str, ...] = LABELS
    settings: Settings = field(default_factory=dict)
    prefix: str = ""


AUTO_MAP = {"AutoModelForAudioClassification": "modeling_emotion.EmotionModel"}
LAYOUTS = {
    "Wav2Vec2ForSequenceClassification": Layout("Wav2Vec2ForSequenceClassification", "wav2vec2"),
    "HubertForSequenceClassification": Layout("HubertForSequenceClassification", "hubert"),
    "WavLMForSequenceClassification": Layout("WavLMForSequenceClassification", "wavlm"),
    "audeering": Layout(
        "Wav2Vec2ForSpeechClassification",
        "wav2vec2",
        DenseOutProj,
        DIMENSIONS,
        {"problem_type": "regression", "pooling_mode": "mean", "finetuning_task": "wav2vec2_reg"},
    ),
    "EmotionModel": Layout(
        "EmotionModel",
        "wav2vec2",
        DenseOutProj,
        DIMENSIONS,
        {"problem_type": "regression", "auto_map": AUTO_MAP},
    ),
    **{
        f"soxan-{family}-{mode}": Layout(
            f"{name}ForSpeechClassification",
            family,
            DenseOutProj,
            settings={"pooling_mode": mode, "finetuning_task": "wav2vec2_clf"},
        )
        for family, name in (("wav2vec2", "Wav2Vec2"), ("hubert", "Hubert"))
        for mode in POOLING
    },
    "ehcalabres": Layout(
        "Wav2Vec2ForSequenceClassification",
        "wav2vec2",
        DenseOutput,
        settings={"pooling_mode": "mean", "finetuning_task": "wav2vec2_clf"},
    ),
}
"""The kinds of checkpoints by a name that people know."""


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
    """Write a checkpoint folder as its authors would.

    Args:
        folder: the folder, which is made if it does not exist.
        settings: `LARGE` or `BASE`, with or without `SMALL` over it, or others.
        architecture: one of `LAYOUTS`.
        do_normalize: whether the feature extractor normalizes each clip.
        seed: the seed of the weights.
        waveforms: clips at 16 kHz. The last layer is scaled so that over them each logit has mean
            0 and standard deviation 1, since logits of random weights hardly vary. None takes
            generated clips.
        old_names: whether to write `pytorch_model.bin` with the names that weight norm had in 2021
            instead of safetensors.
    """
    torch.manual_seed(seed)
    layout = LAYOUTS[architecture]
    config = FAMILIES[layout.family].configuration(
        **{
            **settings,
            **layout.settings,
            "architectures": [layout.architecture],
            "id2label": dict(enumerate(layout.labels)),
            "label2id": {label: index for index, label in enumerate(layout.labels)},
        }
    )
    model = _network(layout, config).eval()
    _randomize(model)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    label_layer = model.head.get_submodule(model.head.label_layer)
    _spread(model, label_layer, extractor, waveforms or generated_clips(RATE))

    prefix = layout.prefix or model.encoder.base_model_prefix
    state = {f"{prefix}.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    state |= model.head.state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    extractor.save_pretrained(folder)
    config.save_pretrained(folder)
    if not old_names:
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        return
    old = {"parametrizations.weight.original0": "weight_g"}
    old["parametrizations.weight.original1"] = "weight_v"
    for new, name in old.items():
        state = {key.replace(new, name): tensor for key, tensor in state.items()}
    torch.save(state, folder / "pytorch_model.bin")


@torch.no_grad()
def add_outliers(model: OriginalNetwork) -> None:
    """Make six channels of every norm `LOUD` times louder, and the weights after it quieter.

    The function of a network whose layers begin with their norms stays the same. In others the
    residual has the loud channels, too, which changes the function.
    """
    generator = torch.Generator().manual_seed(0)
    encoder: Any = model.encoder
    projection = encoder.feature_projection
    pairs = [(projection.layer_norm, [projection.projection])]
    norm_first = model.config.do_stable_layer_norm
    before = encoder.encoder.layer_norm
    for layer in encoder.encoder.layers:
        attention = layer.attention
        first, second = layer.layer_norm, layer.final_layer_norm
        linears = [attention.q_proj, attention.k_proj, attention.v_proj]
        pairs.append((first if norm_first else before, linears))
        pairs.append((second if norm_first else first, [layer.feed_forward.intermediate_dense]))
        before = second
    for norm, linears in pairs:
        channels = torch.randperm(len(norm.weight), generator=generator)[:6]
        norm.weight[channels] *= LOUD
        norm.bias[channels] *= LOUD
        for linear in linears:
            linear.weight[:, channels] /= LOUD


def _network(layout: Layout, config: Any) -> OriginalNetwork:
    """Return a network of a layout with the random weights that transformers gives it."""
    task = TASKS[layout.settings.get("problem_type")]
    if layout.head is not Superb:
        return OriginalNetwork(FAMILIES[layout.family].encoder(config), layout.head(config), task)
    kind = {
        "wav2vec2": Wav2Vec2ForSequenceClassification,
        "hubert": HubertForSequenceClassification,
        "wavlm": WavLMForSequenceClassification,
    }[layout.family]
    whole: Any = kind(config)
    with torch.device("meta"):
        head = Superb(config)
    state = whole.state_dict()
    head.load_state_dict({name: state[name] for name in head.state_dict()}, assign=True)
    return OriginalNetwork(whole.base_model, head, task)


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


def _spread(
    model: OriginalNetwork,
    layer: nn.Module,
    extractor: Wav2Vec2FeatureExtractor,
    waveforms: list[Waveform],
) -> None:
    """Scale a linear layer so that over the waveforms its outputs have mean 0 and deviation 1."""
    rows: list[npt.NDArray[np.float64]] = []
    hook = layer.register_forward_hook(lambda _, __, found: rows.append(found[0].double().numpy()))
    with torch.inference_mode():
        for waveform in waveforms:
            inputs = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
            model(inputs.input_values)
    hook.remove()
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
    linear: Any = layer
    with torch.no_grad():
        linear.weight /= torch.tensor(spread, dtype=torch.float32)[:, None]
        linear.bias.copy_((linear.bias - torch.tensor(mean)) / torch.tensor(spread))


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
        choices=LAYOUTS,
        default="Wav2Vec2ForSequenceClassification",
        help="Kind of the checkpoint (default: %(default)s).",
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
