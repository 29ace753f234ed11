"""Trains on train.npy and writes weights.npz (float32, by GGUF tensor name) and training.json.

The last part of training sees every matrix through its quantized form, so that the shipped 4-bit
model is the one that was trained, not a rounding of it.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import shape
from model import Model


def options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with train.npy, valid.npy, text.json")
    arguments.add_argument("--out", type=Path, help="where to write (the work folder)")
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--compile", action="store_true", help="torch.compile: faster after a minute")
    arguments.add_argument("--steps", type=int, default=3000)
    arguments.add_argument("--quantized-share", type=float, default=0.5, help="of the steps, at the end")
    arguments.add_argument("--batch", type=int, default=32, help="windows of the whole context")
    arguments.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    arguments.add_argument("--decay", type=float, default=0.5, help="weight decay of matrices")
    arguments.add_argument("--dropout", type=float, default=0.2)
    arguments.add_argument("--seed", type=int, default=1)
    return arguments.parse_args()


def load(path: Path, device: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path).astype(np.int64)).to(device)


def rate_factor(step: int, steps: int) -> float:
    """Linear warm-up over 5 % of the steps, then half a cosine to 1 %."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def cross_entropy(model, windows: torch.Tensor, quantized: bool, reduction: str) -> torch.Tensor:
    """Of the tokens 1.. of each window [batch, length], in nats."""
    logits = model(windows[:, :-1], quantized)
    return F.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def perplexity(model, tokens: torch.Tensor, quantized: bool) -> float:
    """Over windows of the whole context that do not overlap, in float32."""
    model.eval()
    windows = tokens[: len(tokens) // shape.CONTEXT * shape.CONTEXT].view(-1, shape.CONTEXT)
    total = sum(
        cross_entropy(model, part, quantized, "sum").item() for part in windows.split(64)
    )
    model.train()
    return math.exp(total / (windows.shape[0] * (shape.CONTEXT - 1)))


def optimizer_for(model: Model, option: argparse.Namespace) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": option.decay}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=option.rate, betas=(0.9, 0.98), fused=option.device == "cuda")


def train(model: Model, step_model, option: argparse.Namespace) -> list[dict]:
    """Returns what was measured on the way."""
    tokens, held_out = load(option.work / "train.npy", option.device), load(option.work / "valid.npy", option.device)
    optimizer = optimizer_for(model, option)
    offsets = torch.arange(shape.CONTEXT, device=option.device)
    first_quantized = round(option.steps * (1 - option.quantized_share))
    log, began = [], time.monotonic()
    for step in range(option.steps):
        for group in optimizer.param_groups:
            group["lr"] = option.rate * rate_factor(step, option.steps)
        starts = torch.randint(len(tokens) - shape.CONTEXT + 1, (option.batch, 1), device=option.device)
        quantized = step >= first_quantized
        with torch.autocast(option.device, torch.bfloat16, enabled=option.device == "cuda"):
            loss = cross_entropy(step_model, tokens[starts + offsets], quantized, "mean")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 500 == 0 or step + 1 == option.steps:
            log.append({
                "step": step + 1,
                "seconds": round(time.monotonic() - began, 1),
                "training loss": round(loss.item(), 4),
                "held-out perplexity, float": round(perplexity(model, held_out, False), 3),
                "held-out perplexity, quantized": round(perplexity(model, held_out, True), 3),
            })
            print(json.dumps(log[-1]), flush=True)
    return log


def tensors(model: Model) -> dict[str, np.ndarray]:
    named = {}
    for name, parameter in model.named_parameters():
        name = name if name.endswith(".weight") else f"{name}.weight"
        named[name] = parameter.detach().float().cpu().numpy()
    return named


def main() -> None:
    option = options()
    torch.manual_seed(option.seed)
    model = Model(option.dropout).to(option.device)
    step_model = torch.compile(model) if option.compile else model
    log = train(model, step_model, option)
    out = option.out or option.work
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "weights.npz", **tensors(model))
    settings = {name: value for name, value in vars(option).items() if name not in ("work", "out")}
    record = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "settings": settings,
        "log": log,
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
