"""What the trained model is worth: perplexity, zeros, neuron statistics, chats. All in f32."""

import json

import numpy as np
import torch
import torch.nn.functional as F

import codes
import model

LENGTH = 1024
WINDOWS = (1, 2, 4, 5, 8)


def built(trainer, coded: dict) -> dict:
    """The FFN weights of the built file: original plus delta, through Q8_0."""
    return {p: codes.q8_0(trainer.base[p] + codes.decode(*coded[p])) for p in coded}


def held_out(trainer, count: int) -> torch.Tensor:
    tokens = np.load(trainer.option.work / "held_out.npy").astype(np.int64)
    tokens = tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)
    # Spread over the novel.
    chosen = np.linspace(0, len(tokens) - 1, min(count, len(tokens))).astype(int)
    return torch.from_numpy(tokens[chosen]).to(trainer.device)


def ppl(nll: torch.Tensor) -> float:
    return round(nll.double().mean().exp().item(), 4)


@torch.no_grad()
def densities(windows, exact, own) -> torch.Tensor:
    rows = [model.forward(w, exact, own, True)[3] for w in windows.split(4)]
    return torch.stack(rows).mean(0)


@torch.no_grad()
def scores(trainer, own, novel, samples) -> dict:
    exact = trainer.exact
    if not hasattr(trainer, "original_scores"):
        trainer.original_scores = {}
    key = len(novel)
    if key not in trainer.original_scores:
        trainer.original_scores[key] = (
            ppl(model.nll(novel, exact, None, False)), ppl(model.nll(samples, exact, None, False))
        )
    first, second = trainer.original_scores[key]
    share = densities(novel, exact, own)
    return {
        "novel": ppl(model.nll(novel, exact, own, True)), "novel, original": first,
        "samples": ppl(model.nll(samples, exact, own, True)), "samples, original": second,
        "zeros": round(1 - share.mean().item(), 4),
        "zeros by layer, least and most": [round(1 - share.max().item(), 4), round(1 - share.min().item(), 4)],
        "zeros on samples": round(1 - densities(samples, exact, own).mean().item(), 4),
    }


def short(trainer, coded) -> dict:
    return scores(trainer, built(trainer, coded), held_out(trainer, 16), trainer.held_samples[:32])


@torch.no_grad()
def activities(tokens, exact, own) -> torch.Tensor:
    """Which neurons are active: [LAYERS, length, FFN], for one window [length]."""
    table = model.rope_table(len(tokens), tokens.device)
    x = F.embedding(tokens[None], exact["embd"]).float()
    rows = []
    for i in range(model.LAYERS):
        weights = model.layer_weights(exact, i, own)
        attn_norm, attn_qkv, attn_output, ffn_norm, gate = weights[:5]
        q, k, v = model.heads(F.linear(model.norm(x, attn_norm), attn_qkv), table)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        y = model.norm(x + F.linear(mixed.transpose(1, 2).flatten(-2), attn_output), ffn_norm)
        rows.append(F.linear(y, gate)[0] > 0)
        x = model.block(x, table, *weights, True)[0]
    return torch.stack(rows)


def windowing(active: torch.Tensor) -> dict:
    """For each k: share of a token's active neurons that were not active in the k tokens before,
    and the size of the union of the last k tokens as a share of the FFN."""
    found = {}
    for k in WINDOWS:
        union = torch.stack([active[:, i : active.shape[1] - k + i] for i in range(k)]).any(0)
        now = active[:, k:]
        new = (now & ~union).sum((1, 2)) / now.sum((1, 2)).clamp_min(1)
        found[str(k)] = {"new": round(new.mean().item(), 4), "union": round(union.float().mean().item(), 4)}
    return found


@torch.no_grad()
def neurons(windows, exact, own) -> dict:
    active = torch.stack([activities(w, exact, own) for w in windows])
    count = active.sum((0, 2)).float() / (active.shape[0] * active.shape[2])
    kinds = [windowing(one) for one in active]
    mean = {
        k: {name: round(float(np.mean([kind[k][name] for kind in kinds])), 4) for name in ("new", "union")}
        for k in kinds[0]
    }
    by_layer = active.float().mean((0, 2, 3))
    return {
        "windows": mean,
        "never active": round((count == 0).float().mean().item(), 4),
        "active for more than half of the tokens": round((count > 0.5).float().mean().item(), 4),
        "zeros by layer": [round(1 - share, 4) for share in by_layer.tolist()],
    }


@torch.no_grad()
def chat(tokens, exact, own, relu: bool, most: int, stop=(0, 2)) -> list[int]:
    """Greedy continuation."""
    tokens = list(tokens)
    made = []
    while len(made) < most:
        window = torch.tensor([tokens], device=exact["embd"].device)
        hidden = model.forward(window, exact, own, relu)[0][0, -1]
        made.append(int(F.linear(hidden, exact["embd"]).argmax()))
        tokens.append(made[-1])
        if made[-1] in stop:
            break
    return made


def full(trainer, coded) -> dict:
    own, exact = built(trainer, coded), trainer.exact
    result = scores(trainer, own, held_out(trainer, 64), trainer.held_samples)
    print(json.dumps(result), flush=True)
    result["neurons"] = neurons(held_out(trainer, 8), exact, own)
    print(json.dumps(result["neurons"]), flush=True)
    chats = json.loads((trainer.option.work / "chats.json").read_text())
    half = {name: w.bfloat16() for name, w in own.items()} if trainer.device == "cuda" else own
    fast = trainer.weights
    if trainer.option.answer == 0:
        return result
    result["chats"] = [
        {"question": c["question"], "answer": chat(c["tokens"], fast, half, True, trainer.option.answer)} for c in chats
    ]
    return result
