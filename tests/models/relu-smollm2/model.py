"""SmolLM2 as llama.cpp computes it, its FFN weights as stacks of all layers.

RoPE turns the pairs (2i, 2i + 1) of a head, which is the order of the rows in the GGUF file.
Weights are dequantized exactly. The residual stream is f32; products run in the dtype of the weights.
"""

import gguf
import torch
import torch.nn.functional as F

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FFN, VOCABULARY = 30, 576, 9, 3, 64, 1536, 49152
ROPE_BASE, NORM_EPS = 100_000.0, 1e-5
FFN_PARTS = ("gate", "up", "down")
# The width of the smooth step that stands for "active" in training, in units of the gate's rms.
STEP_WIDTH = 0.2


def load(path) -> dict[str, torch.Tensor]:
    """All weights in f32; those of layers stacked: `attn_q` is [LAYERS, 576, 576]."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        found[tensor.name] = torch.from_numpy(data.copy())
    weights = {"embd": found["token_embd.weight"], "output_norm": found["output_norm.weight"]}
    parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm"]
    for part in parts + [f"ffn_{part}" for part in FFN_PARTS]:
        weights[part] = torch.stack([found[f"blk.{i}.{part}.weight"] for i in range(LAYERS)])
    weights["attn_qkv"] = torch.cat([weights.pop(f"attn_{part}") for part in "qkv"], 1)
    return weights


def rope_table(length: int, device) -> torch.Tensor:
    """[length, HEAD / 2, 2]: cosine and sine of position times frequency."""
    frequency = ROPE_BASE ** (-torch.arange(0, HEAD, 2, device=device).double() / HEAD)
    angle = torch.arange(length, device=device).double()[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin()), -1).float()


def rope(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotates `x` [batch, heads, length, HEAD]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table.unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPS) * weight


def heads(qkv: torch.Tensor, table: torch.Tensor):
    """Query, key, value as [batch, heads, length, HEAD], the first two rotated."""
    q, k, v = qkv.split((HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD), -1)
    q, k, v = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in (q, k, v))
    return rope(q, table), rope(k, table), v


def ffn(y: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor, relu: bool):
    """The FFN's output and its gate before the activation."""
    g = F.linear(y, gate)
    active = F.relu(g) if relu else F.silu(g.float()).to(g.dtype)
    return F.linear(active * F.linear(y, up), down), g


def activity(g: torch.Tensor):
    """Share of active neurons: as a smooth function that can be trained, and exactly."""
    g = g.float()
    width = STEP_WIDTH * g.detach().square().mean().sqrt() + 1e-6
    return torch.sigmoid(g / width).mean(), (g.detach() > 0).float().mean()


def block(x, table, attn_norm, attn_qkv, attn_output, ffn_norm, gate, up, down, relu: bool):
    """One layer; returns the residual stream, smooth and exact activity (zeros for SiLU)."""
    h = norm(x, attn_norm).to(attn_qkv.dtype)
    q, k, v = heads(F.linear(h, attn_qkv), table)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    x = x + F.linear(mixed.transpose(1, 2).flatten(-2), attn_output).float()
    y = norm(x, ffn_norm).to(gate.dtype)
    out, g = ffn(y, gate, up, down, relu)
    smooth, exact = activity(g) if relu else (x.new_zeros(()), x.new_zeros(()))
    return x + out.float(), smooth, exact


def layer_weights(weights: dict, i: int, ffn_weights: dict | None = None) -> list[torch.Tensor]:
    source = ffn_weights or weights
    fixed = [weights[part][i] for part in ("attn_norm", "attn_qkv", "attn_output", "ffn_norm")]
    return fixed + [source[f"ffn_{part}"][i] for part in FFN_PARTS]


def to(weights: dict, device, dtype) -> dict:
    """Matrices in `dtype`, norms in f32."""
    return {
        name: w.to(device, torch.float32 if "norm" in name else dtype) for name, w in weights.items()
    }


def forward(tokens, weights, ffn_weights, relu: bool, step=block):
    """`tokens` [batch, length] to the normed hidden state, every layer's residual, activities."""
    table = rope_table(tokens.shape[1], tokens.device)
    x = F.embedding(tokens, weights["embd"]).float()
    states, smooth, exact = [], [], []
    for i in range(LAYERS):
        x, s, e = step(x, table, *layer_weights(weights, i, ffn_weights), relu)
        states.append(x)
        smooth.append(s)
        exact.append(e)
    hidden = norm(x, weights["output_norm"]).to(weights["embd"].dtype)
    return hidden, states, torch.stack(smooth), torch.stack(exact)


@torch.no_grad()
def nll(windows, weights, ffn_weights, relu: bool) -> torch.Tensor:
    """Negative log-likelihoods [batch, length - 1] of tokens 1.. of each window."""
    rows = []
    for window in windows.split(4):
        hidden = forward(window, weights, ffn_weights, relu)[0][:, :-1]
        logits = F.linear(hidden, weights["embd"]).float()
        rows.append(F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="none").view(hidden.shape[:2]))
    return torch.cat(rows)
