"""The model as llama.cpp computes it, with weights that can be seen through their 4-bit form.

RoPE turns the pairs (2i, 2i + 1) of a head, so the rows of `attn_q` and `attn_k` already stand in
the order that a GGUF file of architecture `llama` wants. Parameters have the file's tensor names.
"""

import torch
import torch.nn.functional as F
from torch import nn

import shape

BLOCK = 32


def q4_1(weight: torch.Tensor) -> torch.Tensor:
    """`weight` [N, K] through GGUF's Q4_1: per 32 values a half-precision scale and minimum."""
    blocks = weight.reshape(-1, BLOCK)
    low = blocks.amin(1, keepdim=True)
    scale = (blocks.amax(1, keepdim=True) - low) / 15
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    levels = torch.floor((blocks - low) * inverse + 0.5).clamp(0, 15)
    return (levels * scale.half().float() + low.half().float()).reshape(weight.shape)


def q8_0(weight: torch.Tensor) -> torch.Tensor:
    """`weight` [N, K] through GGUF's Q8_0: per 32 values a half-precision scale."""
    blocks = weight.reshape(-1, BLOCK)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    levels = torch.round(blocks * inverse)
    return (levels * scale.half().float()).reshape(weight.shape)


def seen(weight: torch.Tensor, quantized: bool, through) -> torch.Tensor:
    """The quantized weight forward, the identity backward (straight-through estimator)."""
    return weight + (through(weight) - weight).detach() if quantized else weight


class Linear(nn.Module):
    def __init__(self, inputs: int, outputs: int, std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * std)

    def forward(self, x: torch.Tensor, quantized: bool) -> torch.Tensor:
        return F.linear(x, seen(self.weight, quantized, q4_1))


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
        group = shape.HEADS // shape.KV_HEADS
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.attn_output(mixed.transpose(1, 2).flatten(-2), quantized)

    def forward(self, x: torch.Tensor, table: torch.Tensor, quantized: bool) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.attn_norm(x), table, quantized))
        y = self.ffn_norm(x)
        y = F.silu(self.ffn_gate(y, quantized)) * self.ffn_up(y, quantized)
        return x + self.dropout(self.ffn_down(y, quantized))


class Model(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.token_embd = nn.Parameter(torch.randn(shape.VOCABULARY, shape.WIDTH) * 0.02)
        self.blk = nn.ModuleList(Block(dropout) for _ in range(shape.LAYERS))
        self.output_norm = nn.RMSNorm(shape.WIDTH, shape.NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("rope_table", rope_table(shape.CONTEXT), persistent=False)

    def forward(self, tokens: torch.Tensor, quantized: bool) -> torch.Tensor:
        """`tokens` [batch, length] to logits [batch, length, VOCABULARY]."""
        embedding = seen(self.token_embd, quantized, q8_0)
        x = self.dropout(F.embedding(tokens, embedding))
        table = self.rope_table[: tokens.shape[1]]
        for block in self.blk:
            x = block(x, table, quantized)
        return F.linear(self.output_norm(x), embedding)
