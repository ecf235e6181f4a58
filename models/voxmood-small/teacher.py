"""The encoder of Moonshine tiny, whose weights the network starts from and whose frames it learns.

Its file is in the package moonshine-voice (MIT): assets/tiny-en/encoder_model.ort.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import (
    InferenceSession,
)
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, LAYERS, INNER = 288, 8, 6, 1152
STEM = ((1, 288, 127, 64), (288, 576, 7, 3), (576, 288, 3, 2))  # in, out, kernel, stride
HOP = 384  # samples between two of its frames
ROTATED = 32  # numbers of each head that turn with the position; the others do not
LEVEL = 0.05  # RMS at which it hears every clip

Floats = NDArray[np.float32]


def read_weights(path: Path) -> dict[str, Floats]:
    """Return the weights of an encoder_model.ort by the names of Encoder's parameters.

    The matrices are stored as 8-bit integers, [in, out]; what is returned is float32, [out, in].
    """
    graph = InferenceSession.GetRootAs(path.read_bytes(), 0).Model().Graph()
    kinds = {1: np.float32, 2: np.uint8}
    stored = {}
    for tensor in (graph.Initializers(i) for i in range(graph.InitializersLength())):
        if tensor.DataType() in kinds:
            shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
            values = np.frombuffer(tensor.RawDataAsNumpy().tobytes(), kinds[tensor.DataType()])
            stored[tensor.Name().decode()] = values.reshape(shape)
    weights = {
        name.removesuffix("_add_tensor"): values
        for name, values in stored.items()
        if name.startswith(("conv", "layers.", "layer_norm.weight"))
    }
    weights["groupnorm.weight"] = stored["onnx::Mul_2080"][:, 0]
    weights["groupnorm.bias"] = stored["onnx::Add_2081"][:, 0]
    for node in (graph.Nodes(i) for i in range(graph.NodesLength())):
        if node.OpType() in (b"MatMulIntegerToFloat", b"DynamicQuantizeMatMul"):
            matrix = next(
                name.removesuffix("_quantized")
                for name in (node.Inputs(i).decode() for i in range(node.InputsLength()))
                if name.startswith("onnx::MatMul") and name.endswith("_quantized")
            )
            whole = stored[f"{matrix}_quantized"].astype(np.float32)
            whole -= stored[f"{matrix}_zero_point"].astype(np.float32)
            place = node.Outputs(0).decode().strip("/").split("/")[:-1]  # layers.0, mlp, fc1
            weights[".".join([*place, "weight"])] = (whole * stored[f"{matrix}_scale"]).T.copy()
    return weights


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return what each frame of x [clips, frames, WIDTH] takes from all frames."""
        query, key, value = (
            part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = functional.scaled_dot_product_attention(
            turned(query, cos, sin), turned(key, cos, sin), value
        )
        result: Tensor = self.o_proj(found.transpose(1, 2).flatten(2))
        return result


def turns() -> Tensor:
    """Return by how much each pair of rotated numbers turns from one frame to the next [pairs]."""
    return 10_000 ** (-torch.arange(0, ROTATED, 2) / ROTATED)


def angles(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of how far each pair is turned in each frame [frames, pairs, 1]."""
    position = torch.arange(states.shape[1], device=states.device)
    angle = (position[:, None] * turns().to(states.device))[..., None]
    return angle.cos(), angle.sin()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of the first ROTATED numbers by an angle that grows with the position."""
    pairs = x[..., :ROTATED].reshape(*x.shape[:-1], -1, 2)
    other = torch.stack([-pairs[..., 1], pairs[..., 0]], -1)
    return torch.cat([(pairs * cos + other * sin).flatten(-2), x[..., ROTATED:]], -1)


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(WIDTH, bias=False)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.LayerNorm(WIDTH, bias=False)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, INNER), "fc2": nn.Linear(INNER, WIDTH)})

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states after attention and after the layer."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        inner = functional.gelu(self.mlp["fc1"](self.post_attention_layernorm(x)))
        return x, x + self.mlp["fc2"](inner)


class Encoder(nn.Module):
    """16 kHz speech in, WIDTH numbers every HOP samples out."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv1d(wide, to, kernel, stride, bias=kernel != 127)
            for wide, to, kernel, stride in STEM
        )
        self.groupnorm = nn.GroupNorm(1, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.layer_norm = nn.LayerNorm(WIDTH, bias=False)
        weights = {name: torch.from_numpy(np.array(w)) for name, w in read_weights(path).items()}
        self.load_state_dict(weights)
        self.requires_grad_(False).eval()

    def forward(self, waves: Tensor, layers: int = LAYERS) -> list[Tensor]:
        """Return the state before the layers, and the two that each of the first layers makes.

        waves: [clips, samples], all of one length.
        """
        x = self.groupnorm(torch.tanh(self.conv1(waves[:, None])))
        x = functional.gelu(self.conv3(functional.gelu(self.conv2(x)))).transpose(1, 2)
        states = [x]
        for layer in self.layers[:layers]:
            states += layer(states[-1], *angles(x))
        return states
