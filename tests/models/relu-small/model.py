"""The model as llama.cpp would compute it, with weights that can be seen through their stored form.

RoPE turns the pairs (2i, 2i + 1) of a head. Parameters have the file's tensor names. The FFN is
`down(relu(gate(x)) * up(x))`.
"""


import torch
import torch.nn.functional as F
from torch import nn

import shape

# The width of the smooth step that stands for "active" in training, in units of the gate's rms.
STEP_WIDTH = 0.2


def q4_0(weight: torch.Tensor):
    """`weight` through GGUF's Q4_0: levels -8 to 7 of a half-precision scale for 32 values.

    Returns levels [N, K / 32, 32] and scales [N, K / 32, 1]; the extreme value becomes level -8.
    """
    blocks = weight.float().unflatten(-1, (-1, 32))
    extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scale = extreme / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    return torch.floor(blocks * inverse + 8.5).clamp(0, 15) - 8, scale.half()


def q8_0(weight: torch.Tensor):
    """`weight` through GGUF's Q8_0, as `q4_0`."""
    blocks = weight.float().unflatten(-1, (-1, 32))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    return torch.round(blocks * inverse), scale.half()


def through(weight: torch.Tensor, kind) -> torch.Tensor:
    levels, scale = kind(weight)
    return (levels * scale.float()).flatten(-2)


def seen(weight: torch.Tensor, quantized: bool, kind) -> torch.Tensor:
    """The quantized weight forward, the identity backward (straight-through estimator)."""
    return weight + (through(weight, kind) - weight).detach() if quantized else weight


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int, std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * std)

    def forward(self, x: torch.Tensor, quantized: bool) -> torch.Tensor:
        return F.linear(x, seen(self.weight, quantized, q4_0))


def rope_table(length: int) -> torch.Tensor:
    """[length, HEAD / 2, 2]: cosine and sine of position times frequency."""
    frequency = shape.ROPE_BASE ** (-torch.arange(0, shape.HEAD, 2).double() / shape.HEAD)
    angle = torch.arange(length).double()[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin()), -1).float()


def rope(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotates `x` [batch, heads, length, HEAD]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).type_as(x)


class Block(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        std, last = 0.02, 0.02 / (2 * shape.LAYERS) ** 0.5
        self.attn_norm = nn.RMSNorm(shape.WIDTH, shape.NORM_EPS)
        self.attn_q = Linear(shape.WIDTH, shape.HEADS * shape.HEAD, std)
        self.attn_k = Linear(shape.WIDTH, shape.KV_HEADS * shape.HEAD, std)
        self.attn_v = Linear(shape.WIDTH, shape.KV_HEADS * shape.HEAD, std)
        self.attn_output = Linear(shape.HEADS * shape.HEAD, shape.WIDTH, last)
        self.ffn_norm = nn.RMSNorm(shape.WIDTH, shape.NORM_EPS)
        self.ffn_gate = Linear(shape.WIDTH, shape.FFN, std)
        self.ffn_up = Linear(shape.WIDTH, shape.FFN, std)
        self.ffn_down = Linear(shape.FFN, shape.WIDTH, last)
        self.dropout = nn.Dropout(dropout)

    def attention(self, x: torch.Tensor, table: torch.Tensor, quantized: bool) -> torch.Tensor:
        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.unflatten(-1, (-1, shape.HEAD)).transpose(1, 2)

        q = rope(heads(self.attn_q(x, quantized)), table)
        k = rope(heads(self.attn_k(x, quantized)), table)
        v = heads(self.attn_v(x, quantized))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.attn_output(mixed.transpose(1, 2).flatten(-2), quantized)

    def forward(self, x: torch.Tensor, table: torch.Tensor, quantized: bool):
        """The residual stream and the gates before ReLU, [batch, length, FFN]."""
        x = x + self.dropout(self.attention(self.attn_norm(x), table, quantized))
        y = self.ffn_norm(x)
        g = self.ffn_gate(y, quantized)
        y = F.relu(g) * self.ffn_up(y, quantized)
        return x + self.dropout(self.ffn_down(y, quantized)), g


class Model(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.token_embd = nn.Parameter(torch.randn(shape.VOCABULARY, shape.WIDTH) * 0.02)
        self.blk = nn.ModuleList(Block(dropout) for _ in range(shape.LAYERS))
        self.output_norm = nn.RMSNorm(shape.WIDTH, shape.NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("rope_table", rope_table(shape.CONTEXT), persistent=False)

    def forward(self, tokens: torch.Tensor, quantized: bool):
        """`tokens` [batch, length] to logits [batch, length, VOCABULARY] and every layer's gates."""
        embedding = seen(self.token_embd, quantized, q8_0)
        x = self.dropout(F.embedding(tokens, embedding))
        table, gates = self.rope_table[: tokens.shape[1]], []
        for block in self.blk:
            x, g = block(x, table, quantized)
            gates.append(g)
        return F.linear(self.output_norm(x), embedding), gates


def activity(gates: list[torch.Tensor]):
    """Share of active neurons: as a smooth function that can be trained, and exactly."""
    smooth, exact = [], []
    for g in gates:
        g = g.float()
        width = STEP_WIDTH * g.detach().square().mean().sqrt() + 1e-6
        smooth.append(torch.sigmoid(g / width).mean())
        exact.append((g.detach() > 0).float().mean())
    return torch.stack(smooth).mean(), torch.stack(exact)
