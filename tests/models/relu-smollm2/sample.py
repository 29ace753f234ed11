"""Samples text from the original model: writes samples.npy (uint16, [rows, LENGTH]).

Three kinds of rows: chats that the model begins itself, free text from the end-of-text token, and
continuations of passages of the five training novels.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import model

LENGTH = 512
PASSAGE = 48
# Tokens less likely than this share of the most likely one are not drawn.
MIN_P = 0.02


class Cache:
    def __init__(self, rows: int, device, dtype=torch.bfloat16):
        shape = (model.LAYERS, rows, model.KV_HEADS, LENGTH, model.HEAD)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros_like(self.k)


def step(tokens, position, weights, layers, table, cache, relu=False):
    """Logits [rows, VOCABULARY] after the tokens [rows] at `position`."""
    x = F.embedding(tokens, weights["embd"]).float()[:, None]
    for i, w in enumerate(layers):
        attn_norm, attn_qkv, attn_output, ffn_norm, gate, up, down = w
        qkv = F.linear(model.norm(x, attn_norm).to(attn_qkv.dtype), attn_qkv)
        q, k, v = model.heads(qkv, table[position : position + 1])
        cache.k[i, :, :, position] = k[:, :, 0]
        cache.v[i, :, :, position] = v[:, :, 0]
        # The queries of a group see the same keys and values: as if they were positions.
        q = q.reshape(-1, model.KV_HEADS, model.HEADS // model.KV_HEADS, model.HEAD)
        seen = slice(0, position + 1)
        mixed = F.scaled_dot_product_attention(q, cache.k[i, :, :, seen], cache.v[i, :, :, seen])
        x = x + F.linear(mixed.reshape(-1, 1, model.WIDTH), attn_output).float()
        x = x + model.ffn(model.norm(x, ffn_norm).to(gate.dtype), gate, up, down, relu)[0].float()
    hidden = model.norm(x[:, 0], weights["output_norm"]).to(weights["embd"].dtype)
    return F.linear(hidden, weights["embd"])


def draw(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    logits = logits.float() / temperature
    best = logits.amax(-1, keepdim=True)
    logits = torch.where(logits < best + np.log(MIN_P), -torch.inf, logits)
    noise = torch.empty_like(logits).exponential_().log_()
    return (logits - noise).argmax(-1)


def beginnings(rows: int, kinds: dict, generator, device):
    """Forced tokens [rows, LENGTH] and how many of each row are forced."""
    forced = np.zeros((rows, LENGTH), np.int64)
    lengths = np.zeros(rows, np.int64)
    for row in range(rows):
        chance = generator.random()
        if chance < 0.4:
            begin = kinds["chat"][generator.integers(len(kinds["chat"]))]
        elif chance < 0.7:
            begin = kinds["free"][generator.integers(len(kinds["free"]))]
        else:
            start = generator.integers(len(kinds["novels"]) - PASSAGE)
            begin = kinds["novels"][start : start + generator.integers(2, PASSAGE)]
        forced[row, : len(begin)] = begin
        lengths[row] = len(begin)
    return torch.from_numpy(forced).to(device), torch.from_numpy(lengths).to(device)


@torch.no_grad()
def batch(rows, weights, kinds, generator, device):
    table = model.rope_table(LENGTH, device)
    layers = [model.layer_weights(weights, i) for i in range(model.LAYERS)]
    cache = Cache(rows, device)
    out, lengths = beginnings(rows, kinds, generator, device)
    temperature = torch.from_numpy(generator.choice([0.7, 1.0], size=(rows, 1))).float().to(device)
    for position in range(LENGTH - 1):
        logits = step(out[:, position], position, weights, layers, table, cache)
        drawn = draw(logits, temperature)
        out[:, position + 1] = torch.where(position + 1 < lengths, out[:, position + 1], drawn)
    return out


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with beginnings.npz and novels.npy")
    arguments.add_argument("original", type=Path, help="SmolLM2's GGUF file")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--rows", type=int, default=2048, help="sampled together")
    arguments.add_argument("--seconds", type=float, default=150)
    arguments.add_argument("--seed", type=int, default=1)
    option = arguments.parse_args()
    began = time.monotonic()
    # cuDNN would plan anew for every length of the cache.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.manual_seed(option.seed)
    generator = np.random.default_rng(option.seed)
    weights = model.to(model.load(option.original), option.device, torch.bfloat16)
    starts = np.load(option.work / "beginnings.npz")
    kinds = {
        "chat": [starts[name] for name in starts.files if name.startswith("chat")],
        "free": [starts[name] for name in starts.files if name.startswith("free")],
        "novels": np.load(option.work / "novels.npy"),
    }
    done, longest = [], 0.0
    while not done or time.monotonic() - began + longest < option.seconds:
        start = time.monotonic()
        done.append(batch(option.rows, weights, kinds, generator, option.device).cpu().numpy().astype(np.uint16))
        longest = time.monotonic() - start
        print(f"{sum(map(np.size, done)):,} tokens, {longest:.1f} s a batch, {time.monotonic() - began:.0f} s", flush=True)
    np.save(option.out, np.concatenate(done))


if __name__ == "__main__":
    main()
