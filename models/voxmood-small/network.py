"""The model that ships, and how it starts from its teacher's weights."""

from __future__ import annotations

from typing import Any

import torch
from corpora import LABELS
from teacher import HEADS, INNER, LEVEL, ROTATED, STEM, WIDTH, Encoder, angles, turns
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

LAYERS = 3  # of the teacher's six: the emotions that carry across languages are there
SPARE = 32  # channels of each convolution that keep its layer norm from doing anything
STILL = 100.0  # power of their constants, to that of all other channels
LOCAL = 30  # frames
FIRST_LEVEL = 0.25  # standard deviation of each channel of the first convolution


def configuration() -> Wav2Vec2Config:
    """Return the shape of the network: the teacher's, as a wav2vec2; 5.5 million parameters."""
    return Wav2Vec2Config(
        conv_dim=tuple(out + SPARE for _, out, _, _ in STEM),
        conv_kernel=tuple(kernel for _, _, kernel, _ in STEM),
        conv_stride=tuple(stride for _, _, _, stride in STEM),
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        use_weighted_layer_sum=True,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=WIDTH,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
        vocab_size=32,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


class Student(nn.Module):
    """The model, whose states can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = Wav2Vec2ForSequenceClassification(configuration())

    def front_end(self, x: Tensor) -> Tensor:
        """Return features [clips, frames, channels] of waves [clips, samples].

        The numbers of `feature_extractor`, as matrix products over frames: half the time on a CPU.
        """
        frames = x[..., None]
        for layer in self.model.wav2vec2.feature_extractor.conv_layers:
            product = functional.linear(windows(frames, layer.conv), *flat(layer.conv))
            frames = functional.gelu(layer.layer_norm(product))
        return frames

    def features(self, x: Tensor) -> Tensor:
        """Return what enters the transformer [clips, frames, WIDTH] of waves [clips, samples]."""
        hidden: Tensor = self.model.wav2vec2.feature_projection(self.front_end(x))[0]
        return hidden

    @torch.no_grad()
    def answer_with(self, weight: Tensor, bias: Tensor) -> None:
        """Let the model answer with a linear classifier of the mean of its last state."""
        model = self.model
        model.layer_weights.fill_(-50.0)  # before a softmax
        model.layer_weights[-1] = 0.0
        model.projector.weight.copy_(torch.eye(WIDTH))  # so that the embedding is this mean
        model.projector.bias.zero_()
        model.classifier.weight.copy_(weight)
        model.classifier.bias.copy_(bias)

    def states(self, hidden: Tensor, heard: Tensor | None = None) -> list[Tensor]:
        """Return the states that the weighted layer sum adds, the last one after its layer norm.

        As the encoder of transformers 4.57 does; its later versions leave out the layer norm.
        hidden: features; heard: booleans [clips, frames], all of them where there is none.
        """
        encoder = self.model.wav2vec2.encoder
        mask = None if heard is None else heard[:, None, None]
        if heard is not None:
            hidden = hidden * heard[..., None]
        hidden = hidden + encoder.pos_conv_embed(hidden)
        states = []
        for layer in encoder.layers:
            states.append(hidden)
            hidden = hidden + layer.attention.out_proj(attended(layer, hidden, mask))
            hidden = hidden + layer.feed_forward.output_dense(thought(layer, hidden))
        return [*states, encoder.layer_norm(hidden)]


def frames_in(samples: Tensor, config: Wav2Vec2Config) -> Tensor:
    """Return how many frames the front end makes of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def attended(layer: Any, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what each frame takes from the others, before the layer's output projection."""
    attention, normal = layer.attention, layer.layer_norm(hidden)
    query, key, value = (
        part(normal).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    with torch.autocast(hidden.device.type, enabled=False):  # on a CPU, half precision is slow here
        found = functional.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), mask
        )
    return found.transpose(1, 2).flatten(2)


def thought(layer: Any, hidden: Tensor) -> Tensor:
    """Return the inner numbers of the layer's feed-forward network."""
    return functional.gelu(layer.feed_forward.intermediate_dense(layer.final_layer_norm(hidden)))


def windows(frames: Tensor, conv: nn.Conv1d) -> Tensor:
    """Return what a convolution sees of frames [clips, frames, channels] at each of its steps."""
    return frames.unfold(1, conv.kernel_size[0], conv.stride[0]).flatten(2)


def flat(conv: nn.Conv1d) -> tuple[Tensor, Tensor | None]:
    """Return a convolution's weight, as a matrix for `windows`, and its bias."""
    return conv.weight.flatten(1), conv.bias


def centered(states: list[Tensor]) -> list[Tensor]:
    """Return states without their means over the channels, which no layer norm lets through.

    The last one is also brought to unit variance.
    """
    means = [state - state.mean(-1, keepdim=True) for state in states[:-1]]
    return [*means, functional.layer_norm(states[-1], (WIDTH,))]


def balance(conv: nn.Conv1d, norm: nn.LayerNorm, seen: Tensor, offset: float) -> None:
    """Let a convolution's spare channels keep its layer norm from doing anything to the others.

    Together they take away the sum of all channels, so that there is no mean to remove, and they
    add constants that are large against what is heard, so that the variance is always the same.
    seen: windows, to measure how large that is. The others are passed on as offset + x.
    """
    assert conv.bias is not None
    conv.weight[-SPARE:] = -conv.weight[:-SPARE].sum(0) / SPARE
    conv.bias[-SPARE:] = -conv.bias[:-SPARE].sum() / SPARE
    size = functional.linear(seen, *flat(conv)).square().sum(2).mean()
    constant = (STILL * size / SPARE).sqrt()
    conv.bias[-SPARE:] += constant * torch.tensor([1.0, -1.0]).repeat(SPARE // 2)
    norm.weight.fill_(((size + SPARE * constant**2) / len(conv.bias)).sqrt())
    norm.bias.fill_(offset)
    norm.weight[-SPARE:] = 0.0
    norm.bias[-SPARE:] = 0.0


def copy_front_end(teacher: Encoder, student: Student, waves: Tensor) -> None:
    """Make the student's front end do what the teacher's does.

    Where a wav2vec2 has a layer norm and a GELU in each frame, the teacher has a tanh and one norm
    over all frames: nearly a constant factor, as all waves are equally loud.
    """
    first, second, third = student.model.wav2vec2.feature_extractor.conv_layers
    projection = student.model.wav2vec2.feature_projection
    for layer in (first, second, third):
        layer.conv.weight.zero_()
        layer.conv.bias.zero_()
    first.conv.weight[:-SPARE] = teacher.conv1.weight * LEVEL
    seen = windows(waves[..., None], first.conv)
    # All channels as loud as each other, for int8, and where a GELU is linear.
    level = functional.linear(seen, *flat(first.conv))[..., :-SPARE].std((0, 1))
    first.conv.weight[:-SPARE] *= (FIRST_LEVEL / level)[:, None, None]
    balance(first.conv, first.layer_norm, seen, offset=10 * FIRST_LEVEL)
    frames = functional.gelu(first.layer_norm(functional.linear(seen, *flat(first.conv))))
    given = frames[..., :-SPARE]
    wanted = teacher.groupnorm(torch.tanh(teacher.conv1(waves[:, None] * LEVEL))).transpose(1, 2)
    center, goal = given.mean((0, 1)), wanted.mean((0, 1))
    slope = ((given - center) * (wanted - goal)).mean((0, 1)) / given.var((0, 1))
    weight = teacher.conv2.weight
    second.conv.weight[:-SPARE, :-SPARE] = weight * slope[:, None]
    second.conv.bias[:-SPARE] = teacher.conv2.bias + weight.sum(2) @ (goal - slope * center)
    seen = windows(frames, second.conv)
    balance(second.conv, second.layer_norm, seen, offset=0.0)
    frames = functional.gelu(second.layer_norm(functional.linear(seen, *flat(second.conv))))
    third.conv.weight[:-SPARE, :-SPARE] = teacher.conv3.weight
    third.conv.bias[:-SPARE] = teacher.conv3.bias
    seen = windows(frames, third.conv)
    balance(third.conv, third.layer_norm, seen, offset=0.0)
    # The spare channels keep the projection's norm still as well. It takes away most of what all
    # channels share: no layer of the transformer looks at it, but the convolution before would.
    frames = functional.gelu(third.layer_norm(functional.linear(seen, *flat(third.conv))))
    constant = (STILL * frames.square().sum(2).mean() / SPARE).sqrt()
    third.layer_norm.bias[-SPARE:] = constant
    frames[..., -SPARE:] = constant
    projection.layer_norm.weight[-SPARE:] = 0.0
    size = frames.var(2, correction=0).mean().sqrt()
    projection.projection.weight.copy_(size * torch.eye(WIDTH, WIDTH + SPARE))
    projection.projection.bias.zero_()
    projection.projection.bias -= projection(frames)[0].mean()


def copy_layer(source: Any, layer: Any) -> None:
    """Give a layer of the student the weights of one of the teacher's."""
    attention, forward = layer.attention, layer.feed_forward
    for mine, given in (
        (layer.layer_norm, source.input_layernorm),
        (attention.q_proj, source.self_attn.q_proj),
        (attention.k_proj, source.self_attn.k_proj),
        (attention.v_proj, source.self_attn.v_proj),
        (attention.out_proj, source.self_attn.o_proj),
        (layer.final_layer_norm, source.post_attention_layernorm),
        (forward.intermediate_dense, source.mlp["fc1"]),
        (forward.output_dense, source.mlp["fc2"]),
    ):
        mine.weight.copy_(given.weight)
        mine.bias.copy_(torch.zeros_like(mine.bias) if given.bias is None else given.bias)


@torch.no_grad()
def start_from(teacher: Encoder, student: Student, waves: Tensor) -> None:
    """Give the student the teacher's weights.

    It has no rotary positions: of what a query has in common with a key, there stays what is left
    on average over LOCAL frames. A convolution over time, which starts small, is there instead.
    waves: [clips, samples] of unit variance, to measure how loud the front end's channels are.
    """
    copy_front_end(teacher, student, waves)
    encoder = student.model.wav2vec2.encoder
    encoder.pos_conv_embed.conv.parametrizations.weight.original0.mul_(0.01)
    lags = torch.arange(-LOCAL, LOCAL + 1)[:, None]
    weights = (LOCAL + 1 - lags.abs()) / (LOCAL + 1) ** 2
    left = (weights * torch.cos(lags * turns())).sum(0).clamp(min=0)
    kept = torch.cat([left.repeat_interleave(2), torch.ones(WIDTH // HEADS - ROTATED)])
    for source, layer in zip(teacher.layers, encoder.layers, strict=False):
        copy_layer(source, layer)
        layer.attention.q_proj.weight.mul_(kept.repeat(HEADS)[:, None])


class Fit:
    """The linear map that comes closest to the outputs asked for, over all that was added."""

    def __init__(self) -> None:
        self.square: Tensor | float = 0.0
        self.product: Tensor | float = 0.0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Add inputs [clips, frames, in] and outputs [clips, frames, out].

        A clip's mean counts as much as all its frames together: emotions are told from means.
        """
        x, y = functional.pad(inputs.float(), (0, 1), value=1.0), outputs.float()
        scale = x.shape[1] ** 0.5
        for a, b in ((x.flatten(0, 1), y.flatten(0, 1)), (x.mean(1) * scale, y.mean(1) * scale)):
            self.square = self.square + (a.T @ a).double()
            self.product = self.product + (a.T @ b).double()

    def solve(self, layer: nn.Linear) -> None:
        """Set a layer's weight and bias."""
        assert isinstance(self.square, Tensor)
        size = len(self.square) - 1
        small = 1e-3 * self.square.diagonal()[:size].mean()
        ridge = torch.diag(functional.pad(small.repeat(size), (0, 1)))
        found = torch.linalg.solve(self.square + ridge, self.product).T.float()
        layer.weight.copy_(found[:, :size])
        layer.bias.copy_(found[:, size])


@torch.no_grad()
def fit_layers(teacher: Encoder, student: Student, taught: list[Tensor]) -> None:
    """Fit each layer's last matrices to what is missing to the teacher's states.

    taught: states [clips, 1 + LAYERS, frames, WIDTH] of batches of clips.
    """
    encoder = student.model.wav2vec2.encoder
    entering = [batch[:, 0].float() for batch in taught]
    hidden = [state - state.mean(-1, keepdim=True) for state in entering]
    hidden = [h + encoder.pos_conv_embed(h) for h in hidden]
    for number, layer in enumerate(tqdm(encoder.layers, "fitting layers")):
        source: Any = teacher.layers[number]
        fit = Fit()
        for h, batch in zip(hidden, taught, strict=True):
            before = batch[:, number].float()
            goal = before + source.self_attn(source.input_layernorm(before), *angles(before))
            fit.add(attended(layer, h), goal - h)
        fit.solve(layer.attention.out_proj)
        hidden = [h + layer.attention.out_proj(attended(layer, h)) for h in hidden]
        fit = Fit()
        for h, batch in zip(hidden, taught, strict=True):
            fit.add(thought(layer, h), batch[:, number + 1].float() - h)
        fit.solve(layer.feed_forward.output_dense)
        hidden = [h + layer.feed_forward.output_dense(thought(layer, h)) for h in hidden]
