"""Checkpoints of FunASR: emotion2vec, in `config.yaml`, `tokens.txt` and `model.pt`.

None of FunASR's code is needed or run. What it computes is in
`voxmood_export.network.emotion2vec`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from torch import Tensor

from voxmood.bundle.description import MAX_LABELS
from voxmood_export.checkpoint.files import FUNASR_CONFIG, FUNASR_WEIGHTS, TOKENS, CheckpointFiles
from voxmood_export.checkpoint.weights import FLOATS, first_names, read_file
from voxmood_export.errors import CheckpointError
from voxmood_export.heads.mean_linear import MeanLinear
from voxmood_export.network.emotion2vec import Emotion2vecConfig, Emotion2vecModel
from voxmood_export.network.original import OriginalNetwork

MAX_TEXT_BYTES = 1 << 20  # of config.yaml and tokens.txt
MAX_LAYERS = 100
MAX_WIDTH = 1 << 16

UNUSED = "unuse"
"""The beginning of tokens that FunASR gives no probability."""

NESTED = ("state_dict", "model_state_dict", "model")
"""The keys under which FunASR looks for the weights in a file, one after the other."""

AUDIO = "modality_encoders.AUDIO."
USED = (
    "blocks.",
    "proj.",
    *(
        AUDIO + part
        for part in (
            "alibi_scale",
            "context_encoder.",
            "extra_tokens",
            "local_encoder.",
            "project_features.",
            "relative_positional_encoder.",
        )
    ),
)
"""The beginnings of the names of weights that inference uses. A checkpoint may hold others, such as
the decoder of its pretraining, which FunASR does not load either."""

REQUIRED: Mapping[str, Any] = {
    "layer_norm_first": False,
    "norm_affine": True,
    "norm_eps": 1e-5,
    "modalities.audio.conv_pos_pre_ln": False,
    "modalities.audio.extractor_mode": "layer_norm",
    "modalities.audio.learned_alibi": False,
    "modalities.audio.learned_alibi_scale_per_head": True,
    "modalities.audio.learned_alibi_scale_per_layer": False,
    "modalities.audio.use_alibi_encoder": True,
}
"""The values of `model_conf` that the network of `emotion2vec.py` relies on."""


@dataclass(frozen=True)
class Tokens:
    """The entries of `tokens.txt` that FunASR answers with.

    Attributes:
        rows: their places among the outputs of the network.
        labels: their names: what stands after the slash of entries such as `生气/angry`.
        originals: the entries themselves.
        count: the number of all entries.
    """

    rows: list[int]
    labels: tuple[str, ...]
    originals: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class FunASRCheckpoint:
    """What a folder of FunASR holds.

    Attributes:
        model: the network, in float32 and in evaluation mode.
        do_normalize: whether FunASR normalizes each waveform.
        tokens: the labels.
    """

    model: OriginalNetwork
    do_normalize: bool
    tokens: Tokens


def read_funasr(files: CheckpointFiles) -> FunASRCheckpoint:
    """Return the network and the labels of a checkpoint of FunASR.

    Raises:
        CheckpointError: a file is missing or damaged, or the checkpoint is not a classifier of
            emotion2vec.
    """
    settings = _read_config(files)
    tokens = _read_tokens(files)
    scopes = _scopes(files, settings)
    config = _Reader(files, settings["model_conf"]).network(tokens)
    do_normalize = settings["model_conf"].get("normalize", False)
    if type(do_normalize) is not bool:
        raise files.error(FUNASR_CONFIG, f"normalize is {do_normalize!r}; write true or false.")
    state = _read_weights(files, scopes)
    with torch.device("meta"):
        model = OriginalNetwork(Emotion2vecModel(config), MeanLinear(config), "classification")
    _assign(files, model, state, tokens)
    return FunASRCheckpoint(model.eval(), do_normalize, tokens)


def _text(files: CheckpointFiles, name: str) -> str:
    path = files.check(name)
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise files.error(name, f"is larger than {MAX_TEXT_BYTES} bytes; it cannot be right.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise files.error(name, "is not UTF-8 text; download it again.") from None


def _read_config(files: CheckpointFiles) -> dict[str, Any]:
    """Return `config.yaml`, after checking that it describes an emotion2vec."""
    text = _text(files, FUNASR_CONFIG)
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = str(getattr(error, "problem_mark", "") or type(error).__name__).strip()
        where = where.removeprefix('in "<unicode string>", ').partition(":\n")[0]
        raise files.error(FUNASR_CONFIG, f"is not valid YAML ({where}); correct it.") from None
    name = settings.get("model") if isinstance(settings, dict) else None
    if name != "Emotion2vec":
        found = f"describes the model {name!r:.60}" if name else "names no model of FunASR"
        raise files.error(
            FUNASR_CONFIG, f"{found}; of FunASR's models, Emotion2vec is the one that is supported."
        )
    if not isinstance(settings.get("model_conf"), dict):
        raise files.error(FUNASR_CONFIG, "has no model_conf; download it again.")
    return dict(settings)


def _read_tokens(files: CheckpointFiles) -> Tokens:
    """Return the entries of `tokens.txt`, which is one per line."""

    def wrong(what: str) -> CheckpointError:
        return files.error(TOKENS, what)

    entries = [line.rstrip() for line in _text(files, TOKENS).split("\n")]
    while entries and not entries[-1]:
        entries.pop()
    if len(entries) > MAX_LABELS:
        raise wrong(f"has {len(entries)} lines; at most {MAX_LABELS} are supported.")
    rows = [row for row, entry in enumerate(entries) if not entry.startswith(UNUSED)]
    originals = tuple(entries[row] for row in rows)
    labels = tuple(entry.rpartition("/")[2].strip() for entry in originals)
    if len(labels) < 2:
        raise wrong(
            f"has {len(labels)} labels, not counting those that begin with {UNUSED}; a classifier "
            "needs two or more."
        )
    for row, entry, label in zip(rows, originals, labels, strict=True):
        if not label:
            raise wrong(f"line {row + 1}, {entry[:40]!r}, has no label; write one on each line.")
        if not entry.isprintable():
            raise wrong(f"line {row + 1}, {entry[:40]!r}, holds characters that cannot be printed.")
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise wrong(f"has the label {label!r} {count} times; labels must differ.")
    return Tokens(rows, labels, originals, len(entries))


def _scopes(files: CheckpointFiles, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return pairs of what names in the file begin with, and what FunASR makes of it."""
    given = settings.get("scope_map") or []
    parts = given.split(",") if isinstance(given, str) else given
    if (
        not isinstance(parts, list)
        or len(parts) % 2
        or not all(isinstance(part, str | None) for part in parts)
    ):
        raise files.error(FUNASR_CONFIG, "scope_map is not a list of pairs; download it again.")
    texts = ["" if part is None or part.lower() == "none" else part for part in parts]
    return [*zip(texts[::2], texts[1::2], strict=True), ("module.", "")]


class _Reader:
    """Read the sizes of the network from `model_conf`."""

    def __init__(self, files: CheckpointFiles, settings: Mapping[str, Any]) -> None:
        self.files, self.settings = files, settings

    def network(self, tokens: Tokens) -> Emotion2vecConfig:
        for key, value in REQUIRED.items():
            found = self.value(key)
            if found != value:
                raise self.wrong(f"{key} is {found!r:.60}; only {value!r} is supported.")
        width = self.size("embed_dim", MAX_WIDTH)
        heads = self.size("num_heads", MAX_LAYERS)
        if width % heads:
            raise self.wrong(f"embed_dim is {width}, which {heads} heads cannot share.")
        if self.size("modalities.audio.num_alibi_heads", MAX_LAYERS) != heads:
            raise self.wrong("num_alibi_heads and num_heads differ, which is not supported.")
        groups = self.size("modalities.audio.conv_pos_groups", MAX_WIDTH)
        if width % groups:
            raise self.wrong(f"embed_dim is {width}, which {groups} groups cannot share.")
        ratio = self.value("mlp_ratio")
        if type(ratio) not in (int, float) or not 0 < ratio <= 16:
            raise self.wrong(f"mlp_ratio is {ratio!r:.60}; write a number such as 4.0.")
        positional = self.size("modalities.audio.conv_pos_depth", MAX_LAYERS)
        layers = self.convolutions()
        return Emotion2vecConfig(
            extra_tokens=self.size("modalities.audio.num_extra_tokens", MAX_WIDTH),
            positional_layers=positional,
            hidden_size=width,
            num_hidden_layers=self.size("modalities.audio.prenet_depth", MAX_LAYERS)
            + self.size("depth", MAX_LAYERS),
            num_attention_heads=heads,
            intermediate_size=int(width * ratio),
            conv_dim=[width for width, _, _ in layers],
            conv_kernel=[kernel for _, kernel, _ in layers],
            conv_stride=[stride for _, _, stride in layers],
            num_conv_pos_embeddings=max(
                3, self.size("modalities.audio.conv_pos_width", MAX_WIDTH) // positional
            ),
            num_conv_pos_embedding_groups=groups,
            num_labels=len(tokens.labels),
            prenet_layers=self.value("modalities.audio.prenet_depth"),
        )

    def wrong(self, what: str) -> CheckpointError:
        return self.files.error(FUNASR_CONFIG, what)

    def value(self, key: str) -> Any:
        found: Any = self.settings
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def size(self, key: str, most: int) -> int:
        found = self.value(key)
        if type(found) is not int or not 1 <= found <= most:
            raise self.wrong(f"{key} is {found!r:.60}; write a whole number from 1 to {most}.")
        return found

    def convolutions(self) -> list[tuple[int, int, int]]:
        """Return the layers of `feature_encoder_spec`: channels, kernel, stride.

        It is an expression of Python, such as `[(512, 10, 5)] + [(512, 3, 2)] * 4`. FunASR runs
        it; here it is only read.
        """
        key = "modalities.audio.feature_encoder_spec"
        text = self.value(key)
        try:
            layers = _layers(ast.parse(str(text)[:1000].strip(), mode="eval").body)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            layers = []
        if not layers:
            raise self.wrong(
                f"{key} is {text!r:.60}; write a list such as '[(512, 10, 5)] + [(512, 3, 2)] * 4'."
            )
        return layers


def _layers(node: ast.expr) -> list[tuple[int, int, int]]:
    """Return the layers that an expression lists.

    Raises:
        ValueError: the expression is not a list of layers, a sum of lists, or a multiple of one.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        layers = _layers(node.left) + _layers(node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = ast.literal_eval(node.right)
        if type(times) is not int or not 0 <= times <= MAX_LAYERS:
            raise ValueError("a list is multiplied by something else than a small number")
        layers = _layers(node.left) * times
    else:
        layers = ast.literal_eval(node)
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise ValueError("no list, or a long one")
    for layer in layers:
        if not isinstance(layer, tuple) or len(layer) != 3:
            raise ValueError("a layer is not a group of three")
        if not all(type(number) is int and 1 <= number <= MAX_WIDTH for number in layer):
            raise ValueError("a size is not a whole number in range")
    return layers


def _read_weights(files: CheckpointFiles, scopes: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Return the tensors that inference uses, by their names in FunASR's network."""
    remedy = "save the model's state_dict alone with torch.save."
    state = read_file(files, FUNASR_WEIGHTS, remedy)
    for key in NESTED:
        if isinstance(state, dict) and key in state:
            state = state[key]
    if not isinstance(state, dict):
        raise files.error(FUNASR_WEIGHTS, "holds no weights by name; download it again.")
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = str(key)
        for begin, replacement in scopes:
            if begin and name.startswith(begin):
                name = replacement + name.removeprefix(begin)
        if name.startswith(USED):
            if not isinstance(tensor, Tensor):
                raise files.error(FUNASR_WEIGHTS, f"{name} is not a tensor; download it again.")
            found[name] = tensor
    return found


def _source(name: str, prenet: int) -> str:
    """Return what FunASR calls a weight of the network; `qkv` stands for each of the three."""

    def block(match: re.Match[str]) -> str:
        number = int(match[1])
        if number < prenet:
            return f"{AUDIO}context_encoder.blocks.{number}."
        return f"blocks.{number - prenet}."

    for pattern, replacement in (
        (r"^encoder\.encoder\.layers\.(\d+)\.", block),
        (r"^encoder\.encoder\.layer_norm\.", AUDIO + "context_encoder.norm."),
        (
            r"^encoder\.encoder\.pos_conv_embed\.(\d+)\.",
            lambda match: f"{AUDIO}relative_positional_encoder.{int(match[1]) + 1}.0.",
        ),
        (r"^encoder\.encoder\.", AUDIO),
        (r"^encoder\.feature_extractor\.", AUDIO + "local_encoder."),
        (r"^encoder\.feature_projection\.layer_norm\.", AUDIO + "project_features.1."),
        (r"^encoder\.feature_projection\.projection\.", AUDIO + "project_features.2."),
        (r"^head\.", ""),
        (r"(conv_layers\.\d+)\.conv\.", r"\1.0."),
        (r"(conv_layers\.\d+)\.layer_norm\.", r"\1.2.1."),
        (r"\.attention\.[qkv]_proj\.", ".attn.qkv."),
        (r"\.attention\.out_proj\.", ".attn.proj."),
        (r"\.final_layer_norm\.", ".norm2."),
        (r"\.layer_norm\.", ".norm1."),
        (r"\.feed_forward\.intermediate_dense\.", ".mlp.fc1."),
        (r"\.feed_forward\.output_dense\.", ".mlp.fc2."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def _assign(
    files: CheckpointFiles,
    model: OriginalNetwork,
    state: Mapping[str, Tensor],
    tokens: Tokens,
) -> None:
    """Give a network its weights, which must be exactly those that it needs."""

    def wrong(what: str) -> CheckpointError:
        return files.error(FUNASR_WEIGHTS, what)

    own = model.state_dict()
    sources = {name: _source(name, model.config.prenet_layers) for name in own}
    shapes = {}
    for name, source in sources.items():
        rows, *others = own[name].shape
        if source.startswith("proj."):
            rows = tokens.count
        shapes[source] = (3 * rows if ".attn.qkv." in source else rows, *others)
    head = {"proj.weight", "proj.bias"}
    if not head & state.keys():
        raise wrong(
            "has no head (proj.weight), so it does not know emotions; take a checkpoint such as "
            "emotion2vec_plus_base."
        )
    missing, extra = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    if missing or extra:
        differences = [f"lacks {first_names(missing)}"] if missing else []
        differences += [f"has {first_names(extra)}"] if extra else []
        raise wrong(
            f"{' and '.join(differences)}, unlike the network that {FUNASR_CONFIG} describes; it "
            "was made for another one or was not saved whole."
        )
    found = state["proj.weight"].shape[:1]
    if state["proj.weight"].ndim == 2 and found != (tokens.count,):
        raise files.error(
            TOKENS,
            f"has {tokens.count} lines, but the weights are for {found[0]} labels; take the "
            f"{TOKENS} of this model.",
        )
    for name in sorted(shapes):
        tensor = state[name]
        if tensor.shape != shapes[name]:
            raise wrong(
                f"{name} has the shape {tuple(tensor.shape)}, but {FUNASR_CONFIG} asks for "
                f"{shapes[name]}."
            )
        if tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise wrong(f"{name} is {kind}; export the model from before it was quantized.")
        if not tensor.isfinite().all():
            raise wrong(
                f"{name} holds values that are not finite; take a checkpoint from before training "
                "diverged."
            )
    weights = {}
    for name, source in sources.items():
        tensor = state[source].float()
        if source.startswith("proj."):
            # FunASR sets the others to minus infinity before the softmax, which then skips them.
            tensor = tensor[tokens.rows]
        elif ".attn.qkv." in source:
            tensor = tensor.chunk(3)["qkv".index(name.split(".attention.")[1][0])]
        weights[name] = tensor
    model.load_state_dict(weights, assign=True)
