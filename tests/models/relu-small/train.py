"""Trains on train.npy and samples.npy; writes the stored blocks of every tensor and training.json.

The second part of training sees every matrix through its stored form. A controller presses the
share of active neurons along a falling line, unless --density is 1. Progress is time.
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
from model import Model, activity, q4_0, q8_0

WINDOWING = (1, 2, 4, 5, 8)


def options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with train.npy, valid.npy, samples.npy")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments.add_argument("--seconds", type=float, default=360)
    arguments.add_argument("--density", type=float, default=0.03, help="share of active neurons at the end; 1: free")
    arguments.add_argument("--ramp", type=float, default=0.6, help="when the final density is reached")
    arguments.add_argument("--quantized", type=float, default=0.5, help="when the stored form is first seen")
    arguments.add_argument("--batch", type=int, default=64, help="windows of the whole context")
    arguments.add_argument("--novels", type=float, default=0.25, help="share of windows from the novels")
    arguments.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    arguments.add_argument("--decay", type=float, default=0.1, help="weight decay of matrices")
    arguments.add_argument("--dropout", type=float, default=0.1)
    arguments.add_argument("--every", type=float, default=45, help="seconds between evaluations")
    arguments.add_argument("--seed", type=int, default=1)
    return arguments.parse_args()


def load(path: Path, device: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path).astype(np.int32)).to(device)


def windows_of(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """`count` windows spread over `tokens`."""
    whole = tokens[: len(tokens) // shape.CONTEXT * shape.CONTEXT].view(-1, shape.CONTEXT).long()
    return whole[torch.linspace(0, len(whole) - 1, min(count, len(whole))).long()]


@torch.no_grad()
def evaluate(model: Model, windows: torch.Tensor, quantized: bool = True) -> dict:
    """Perplexity of tokens 1.. of each window and the zeros of each layer, in f32."""
    model.eval()
    total, exact = 0.0, []
    for part in windows.split(16):
        logits, gates = model(part, quantized)
        total += F.cross_entropy(logits[:, :-1].flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
        exact.append(activity(gates)[1] * len(part))
    model.train()
    zeros = 1 - torch.stack(exact).sum(0) / len(windows)
    return {
        "perplexity": round(math.exp(total / (len(windows) * (shape.CONTEXT - 1))), 4),
        "zeros": round(zeros.mean().item(), 4),
        "zeros by layer": [round(z, 4) for z in zeros.tolist()],
    }


@torch.no_grad()
def neurons(model: Model, windows: torch.Tensor) -> dict:
    """What windowing needs; see the README."""
    model.eval()
    active = torch.stack([g > 0 for g in model(windows, True)[1]])
    model.train()
    count = active.float().mean((1, 2))
    found = {}
    for k in WINDOWING:
        union = torch.stack([active[:, :, i : active.shape[2] - k + i] for i in range(k)]).any(0)
        now = active[:, :, k:]
        new = (now & ~union).sum((2, 3)).float().mean() / now.sum((2, 3)).float().mean()
        found[str(k)] = {"new": round(new.item(), 4), "union": round(union.float().mean().item(), 4)}
    return {
        "windows": found,
        "never active": round((count == 0).float().mean().item(), 4),
        "active for more than half of the tokens": round((count > 0.5).float().mean().item(), 4),
    }


class Trainer:
    def __init__(self, option):
        self.option, device = option, option.device
        torch.manual_seed(option.seed)
        self.model = Model(option.dropout).to(device)
        self.forward = torch.compile(self.model) if device == "cuda" else self.model
        self.train_tokens = load(option.work / "train.npy", device)
        self.valid = windows_of(load(option.work / "valid.npy", device), 10_000)
        samples = load(option.work / "samples.npy", device)
        cut = 64 * shape.CONTEXT
        self.valid_samples, self.samples = windows_of(samples[:cut], 64), samples[cut:]
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        norms = [p for p in self.model.parameters() if p.dim() == 1]
        groups = [{"params": matrices, "weight_decay": option.decay}, {"params": norms, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=option.rate, betas=(0.9, 0.95), fused=device == "cuda")
        self.pressure, self.smoothed, self.log, self.curve, self.steps = 0.3, None, [], [], 0

    def draw(self) -> torch.Tensor:
        def some(tokens, count):
            starts = torch.randint(len(tokens) - shape.CONTEXT, (count, 1), device=tokens.device)
            return tokens[starts + torch.arange(shape.CONTEXT, device=tokens.device)]

        count = round(self.option.batch * self.option.novels)
        return torch.cat((some(self.train_tokens, count), some(self.samples, self.option.batch - count))).long()

    def control(self, density: float, progress: float):
        start = 0.4
        target = start * (self.option.density / start) ** min(1.0, progress / self.option.ramp)
        self.smoothed = density if self.smoothed is None else 0.9 * self.smoothed + 0.1 * density
        push = max(-1.0, min(1.0, 10 * (self.smoothed / target - 1)))
        self.pressure = min(50.0, max(0.003, self.pressure * math.exp(0.03 * push)))

    def rate(self, progress: float) -> float:
        warm = min(1.0, (self.steps + 1) / 200)
        return self.option.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))

    def step(self, progress: float):
        device, tokens = self.option.device, self.draw()
        quantized = progress >= self.option.quantized
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits, gates = self.forward(tokens, quantized)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
            smooth, exact = activity(gates)
        pressed = loss if self.option.density == 1 else loss + self.pressure * smooth
        self.optimizer.zero_grad(set_to_none=True)
        pressed.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress)
        self.optimizer.step()
        return loss, exact.mean().item()

    def run(self):
        began = time.monotonic()
        paused, next_look = 0.0, self.option.every
        while (elapsed := time.monotonic() - began - paused) < self.option.seconds:
            progress = elapsed / self.option.seconds
            loss, density = self.step(progress)
            self.control(density, progress)
            self.steps += 1
            if self.steps % 100 == 0:
                row = {"step": self.steps, "seconds": round(elapsed, 1), "loss": round(loss.item(), 4),
                       "density": round(density, 4), "pressure": round(self.pressure, 3)}
                self.log.append(row)
                print(json.dumps(row), flush=True)
            if elapsed >= next_look:
                look = time.monotonic()
                found = evaluate(self.model, self.valid[::8], progress >= self.option.quantized)
                self.curve.append({"seconds": round(elapsed), **found})
                print(json.dumps(self.curve[-1]), flush=True)
                next_look += self.option.every
                paused += time.monotonic() - look

    def finish(self):
        out = self.option.out
        out.mkdir(parents=True, exist_ok=True)
        save(self.model, out)
        record = {
            "settings": {k: v for k, v in vars(self.option).items() if k not in ("work", "out")},
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "torch": torch.__version__, "steps": self.steps,
            "tokens": self.steps * self.option.batch * shape.CONTEXT,
            "novel tokens": len(self.train_tokens), "sampled tokens": len(self.samples),
            "held out": evaluate(self.model, self.valid),
            "held out, unquantized": evaluate(self.model, self.valid, False),
            "held-out samples": evaluate(self.model, self.valid_samples),
            "neurons": neurons(self.model, self.valid[::24]),
            "curve": self.curve, "log": self.log,
        }
        (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({k: v for k, v in record.items() if k not in ("curve", "log")}), flush=True)


def save(model: Model, out: Path):
    """Levels (int8) and scales (f16) of every matrix, norms as f32; in two files of equal size."""
    named = list(model.named_parameters())
    for half, part in enumerate((named[: len(named) // 2], named[len(named) // 2 :])):
        arrays = {}
        for name, p in part:
            name = name if name.endswith(".weight") else f"{name}.weight"
            if p.dim() == 1:
                arrays[name] = p.detach().float().cpu().numpy()
                continue
            wide = name == "token_embd.weight"
            levels, scale = (q8_0 if wide else q4_0)(p.detach())
            levels = levels.cpu().numpy().astype(np.int8)
            if not wide:
                # Two levels of 0 to 15 in a byte.
                levels = (levels.reshape(-1) + 8).astype(np.uint8)
                levels = levels[::2] | levels[1::2] << 4
            arrays[f"{name}:levels"] = levels
            arrays[f"{name}:scale"] = scale.squeeze(-1).cpu().numpy()
        np.savez(out / f"blocks{half}.npz", **arrays)


def main() -> None:
    trainer = Trainer(options())
    trainer.run()
    trainer.finish()


if __name__ == "__main__":
    main()
