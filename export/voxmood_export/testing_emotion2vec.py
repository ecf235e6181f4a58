"""Checkpoints of FunASR's emotion2vec with random weights, for tests and measurements.

    python -m voxmood_export.testing_emotion2vec FOLDER [--large | --small] [--seed N] [--audio DIR]

`voxmood_export.testing` makes those of transformers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from voxmood.audio import Waveform
from voxmood_export.checkpoint import load_checkpoint
from voxmood_export.checkpoint.files import FUNASR_CONFIG, FUNASR_WEIGHTS, TOKENS
from voxmood_export.clips import generated_clips, recorded_clips
from voxmood_export.verify import reference_logits

RATE = 16000
NINE = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
"""The tokens of emotion2vec+."""

FIVE = (
    "生气/angry",
    "unuse_0",
    "unuse_1",
    "开心/happy",
    "中立/neutral",
    "unuse_2",
    "难过/sad",
    "unuse_3",
    "<unk>",
)
"""Tokens of which four are not used."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network, as FunASR names them."""

    embed_dim: int
    num_heads: int
    depth: int
    prenet_depth: int
    channels: int = 512
    conv_pos_width: int = 95
    conv_pos_groups: int = 16
    num_extra_tokens: int = 10


BASE = Sizes(embed_dim=768, num_heads=12, depth=8, prenet_depth=4)
LARGE = Sizes(embed_dim=1024, num_heads=16, depth=16, prenet_depth=8)
SMALL = Sizes(
    embed_dim=48, num_heads=6, depth=2, prenet_depth=1, channels=32, conv_pos_width=25,
    conv_pos_groups=4, num_extra_tokens=3,
)  # fmt: skip
"""For everyday tests: few and narrow layers. The number of heads is not a power of two, as in
`BASE`."""

KERNELS = (10, 3, 3, 3, 3, 2, 2)
AUDIO = "modality_encoders.AUDIO"


def make_emotion2vec(
    folder: Path,
    sizes: Sizes,
    *,
    tokens: Sequence[str] = NINE,
    normalize: bool = True,
    seed: int = 0,
    waveforms: list[Waveform] | None = None,
) -> None:
    """Write a checkpoint folder as FunASR's hubs have it.

    Args:
        folder: the folder, which is made if it does not exist.
        sizes: `BASE`, `LARGE`, `SMALL` or others.
        tokens: the lines of `tokens.txt`.
        normalize: whether FunASR normalizes each waveform.
        seed: the seed of the weights.
        waveforms: clips at 16 kHz. The last layer is scaled so that over them each logit has mean
            0 and standard deviation 1. None takes generated clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(settings(sizes, normalize=normalize), sort_keys=False)
    (folder / FUNASR_CONFIG).write_text(text)
    (folder / TOKENS).write_text("\n".join(tokens) + "\n", encoding="utf-8")
    state = random_state(sizes, len(tokens), seed)
    torch.save(state, folder / FUNASR_WEIGHTS)

    waveforms = waveforms or generated_clips(RATE)
    logits = np.stack(list(reference_logits(load_checkpoint(str(folder)), waveforms))).astype(float)
    rows = [row for row, token in enumerate(tokens) if not token.startswith("unuse")]
    spread = torch.tensor(logits.std(0), dtype=torch.float32)
    state["proj.weight"][rows] /= spread[:, None]
    mean = torch.tensor(logits.mean(0), dtype=torch.float32)
    state["proj.bias"][rows] = (state["proj.bias"][rows] - mean) / spread
    torch.save(state, folder / FUNASR_WEIGHTS)


def settings(sizes: Sizes, *, normalize: bool) -> dict[str, object]:
    """Return the content of `config.yaml`."""
    wide = sizes.channels
    return {
        "model": "Emotion2vec",
        "model_conf": {
            "depth": sizes.depth,
            "num_heads": sizes.num_heads,
            "embed_dim": sizes.embed_dim,
            "mlp_ratio": 4.0,
            "norm_eps": 1e-5,
            "norm_affine": True,
            "layer_norm_first": False,
            "end_of_block_targets": False,
            "start_drop_path_rate": 0.0,
            "end_drop_path_rate": 0.0,
            "encoder_dropout": 0.1,
            "attention_dropout": 0.1,
            "activation_dropout": 0.0,
            "post_mlp_drop": 0.1,
            "dropout_input": 0.0,
            "layerdrop": 0.05,
            "average_top_k_layers": sizes.depth,
            "loss_beta": 0.0,
            "loss_scale": None,
            "clone_batch": 8,
            "normalize": normalize,
            "modalities": {
                "audio": {
                    "type": "AUDIO",
                    "prenet_depth": sizes.prenet_depth,
                    "model_depth": sizes.depth,
                    "prenet_layerdrop": 0.05,
                    "prenet_dropout": 0.1,
                    "start_drop_path_rate": 0.0,
                    "end_drop_path_rate": 0.0,
                    "num_extra_tokens": sizes.num_extra_tokens,
                    "init_extra_token_zero": True,
                    "local_grad_mult": 1.0,
                    "use_alibi_encoder": True,
                    "alibi_scale": 1.0,
                    "learned_alibi": False,
                    "alibi_max_pos": None,
                    "learned_alibi_scale": True,
                    "learned_alibi_scale_per_head": True,
                    "learned_alibi_scale_per_layer": False,
                    "num_alibi_heads": sizes.num_heads,
                    "decoder": None,
                    "extractor_mode": "layer_norm",
                    "feature_encoder_spec": f"[({wide}, 10, 5)] + [({wide}, 3, 2)] * 4 + "
                    f"[({wide},2,2)] + [({wide},2,2)]",
                    "conv_pos_width": sizes.conv_pos_width,
                    "conv_pos_groups": sizes.conv_pos_groups,
                    "conv_pos_depth": 5,
                    "conv_pos_pre_ln": False,
                }
            },
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "scope_map": ["d2v_model.", "none"],
    }


def random_state(sizes: Sizes, tokens: int, seed: int) -> dict[str, Tensor]:
    """Return weights by the names that they have in `model.pt`."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=random)

    def weight(name: str, *shape: int, bias: bool = True, gain: float = 1 / 3) -> None:
        inputs = shape[1] * (shape[2] if len(shape) == 3 else 1)
        state[f"{name}.weight"] = normal(*shape, scale=(gain / inputs) ** 0.5)
        if bias:
            state[f"{name}.bias"] = normal(shape[0], scale=(gain / inputs) ** 0.5)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + normal(width, scale=0.2)
        state[f"{name}.bias"] = normal(width, scale=0.2)

    before = 1
    for index, kernel in enumerate(KERNELS):
        layer = f"{AUDIO}.local_encoder.conv_layers.{index}"
        weight(f"{layer}.0", sizes.channels, before, kernel, bias=False, gain=2)
        norm(f"{layer}.2.1", sizes.channels)
        before = sizes.channels
    width = sizes.embed_dim
    norm(f"{AUDIO}.project_features.1", sizes.channels)
    weight(f"{AUDIO}.project_features.2", width, sizes.channels)
    kernel = max(3, sizes.conv_pos_width // 5)
    for index in range(5):
        name = f"{AUDIO}.relative_positional_encoder.{index + 1}.0"
        weight(name, width, width // sizes.conv_pos_groups, kernel)
    state[f"{AUDIO}.extra_tokens"] = normal(1, sizes.num_extra_tokens, width)
    scale = 0.1 + 2 * torch.rand((1, 1, sizes.num_heads, 1, 1), generator=random)
    scale[0, 0, 1] = -0.3  # which counts as zero
    state[f"{AUDIO}.alibi_scale"] = scale
    norm(f"{AUDIO}.context_encoder.norm", width)
    for block in (
        *(f"{AUDIO}.context_encoder.blocks.{index}" for index in range(sizes.prenet_depth)),
        *(f"blocks.{index}" for index in range(sizes.depth)),
    ):
        norm(f"{block}.norm1", width)
        weight(f"{block}.attn.qkv", 3 * width, width)
        weight(f"{block}.attn.proj", width, width)
        norm(f"{block}.norm2", width)
        weight(f"{block}.mlp.fc1", 4 * width, width)
        weight(f"{block}.mlp.fc2", width, 4 * width)
    weight("proj", tokens, width)
    return state


def main() -> None:
    """Run the command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="voxmood_export.testing_emotion2vec", description=summary)
    parser.add_argument("folder", type=Path, help="Folder to write the checkpoint to.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the weights (default: 0).")
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="DIR",
        help="Folder of recordings on which the logits get mean 0 and standard deviation 1 "
        "(default: generated signals).",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--large", action="store_true", help="Use the large size, not base.")
    size.add_argument("--small", action="store_true", help="Use few and narrow layers, for tests.")
    arguments = parser.parse_args()
    make_emotion2vec(
        arguments.folder,
        LARGE if arguments.large else SMALL if arguments.small else BASE,
        seed=arguments.seed,
        waveforms=recorded_clips(arguments.audio, RATE, 12).waveforms if arguments.audio else None,
    )


if __name__ == "__main__":
    main()
