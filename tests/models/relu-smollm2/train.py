"""Distils SmolLM2 into itself with ReLU gates; writes the delta's codes, scales and a record.

Only the FFN matrices are trained. First each layer alone follows the original's FFN on the
original's inputs; then the whole model follows the original's next-token distributions, while
a controller keeps the share of active neurons on a falling line. For the last part the
delta is seen through its code. Progress is time: the schedule ends when the time is over.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import codes
import evaluate
import model

PARTS = [f"ffn_{part}" for part in model.FFN_PARTS]


def options() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with novels.npy, held_out.npy, samples*.npy")
    arguments.add_argument("original", type=Path, help="SmolLM2's GGUF file")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seconds", type=float, default=900, help="training time, without the evaluation at the end")
    arguments.add_argument("--stop", type=float, default=math.inf, help="seconds after which to break off, for a later --resume")
    arguments.add_argument("--density", type=float, default=0.10, help="share of active neurons at the end")
    arguments.add_argument("--rate", type=float, default=8e-4, help="peak learning rate")
    arguments.add_argument("--batch", type=int, default=32, help="windows")
    arguments.add_argument("--novels", type=float, default=0.15, help="share of windows from the novels")
    arguments.add_argument("--local", type=float, default=0.06, help="share of the time for layers alone")
    arguments.add_argument("--ramp", type=float, default=0.65, help="when the final density is reached")
    arguments.add_argument("--firm", type=float, default=0.14, help="density that is reached whatever it costs")
    arguments.add_argument("--patience", type=float, default=0.13, help="divergence at which the density waits below that")
    arguments.add_argument("--coded", type=float, default=0.55, help="when the delta is first seen coded")
    arguments.add_argument("--flat", type=float, default=0.5, help="when the learning rate begins to fall")
    arguments.add_argument("--hidden", type=float, default=0.5, help="weight of the states' errors at the start")
    arguments.add_argument("--resume", type=Path, help="folder with the delta of an earlier stretch")
    arguments.add_argument("--every", type=float, default=60, help="seconds between evaluations")
    arguments.add_argument("--answer", type=int, default=96, help="tokens of each chat answer")
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--seed", type=int, default=1)
    return arguments.parse_args()


def divergence(student, teacher, embd):
    """KL(teacher || student) of the next token, mean over tokens; hidden states [tokens, WIDTH]."""
    target = F.log_softmax(F.linear(teacher, embd).float(), -1)
    found = F.log_softmax(F.linear(student, embd).float(), -1)
    return (target.exp() * (target - found)).sum(-1).mean()


def difference(found, wanted):
    """Mean over tokens of the relative square error; the first position is an outlier by nature."""
    found, wanted = found[:, 1:].float(), wanted[:, 1:].float()
    return ((found - wanted).square().sum(-1) / (wanted.square().sum(-1) + 1e-6)).mean()


def alone(x, ffn_norm, gate0, up0, down0, gate, up, down):
    """The FFN by itself on the original's input: its error and its activity."""
    y = model.norm(x, ffn_norm).to(gate.dtype)
    wanted = model.ffn(y, gate0, up0, down0, False)[0]
    out, g = model.ffn(y, gate, up, down, True)
    return difference(out, wanted.detach()), *model.activity(g)


def rounded_sum(base, delta):
    return base + codes.rounded(delta)


class Trainer:
    def __init__(self, option):
        self.option, self.device = option, option.device
        torch.manual_seed(option.seed)
        gpu = option.device == "cuda"
        self.dtype = torch.bfloat16 if gpu else torch.float32
        compiled = (lambda f: torch.compile(f, dynamic=False)) if gpu else (lambda f: f)
        self.block, self.alone = compiled(model.block), compiled(alone)
        self.divergence, self.difference = compiled(divergence), compiled(difference)
        self.rounded_sum = compiled(rounded_sum)
        full = model.load(option.original)
        self.exact = model.to(full, option.device, torch.float32)
        self.base = {part: self.exact[part] for part in PARTS}
        self.weights = model.to(full, option.device, self.dtype)
        self.delta = {p: torch.zeros_like(w).requires_grad_() for p, w in self.base.items()}
        if option.resume:
            for part, delta in self.delta.items():
                found = codes.read(option.resume / f"{part}.delta", tuple(delta.shape))
                delta.data.copy_(found)
        self.optimizer = torch.optim.AdamW(
            self.delta.values(), lr=option.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=gpu
        )
        self.load_text()
        self.pressure, self.smoothed = 0.3, None
        self.goal, self.divergence_seen = None, 1.0
        self.log, self.curve = [], []

    def load_text(self):
        work = self.option.work
        samples = [np.load(path) for path in sorted(work.glob("samples*.npy"))]
        samples = torch.from_numpy(np.concatenate(samples).astype(np.int32))
        self.held_samples = samples[:64].long().to(self.device)
        self.samples = samples[64:].to(self.device)
        self.novels = torch.from_numpy(np.load(work / "novels.npy").astype(np.int32)).to(self.device)
        self.length = samples.shape[1]

    def draw(self):
        count = round(self.option.batch * self.option.novels)
        rows = torch.randint(len(self.samples), (self.option.batch - count,), device=self.device)
        starts = torch.randint(len(self.novels) - self.length, (count, 1), device=self.device)
        passages = self.novels[starts + torch.arange(self.length, device=self.device)]
        return torch.cat((self.samples[rows], passages)).long()

    def seen(self, coded: bool):
        """The student's FFN weights as leaves in the dtype of training, and each layer's views."""
        with torch.no_grad():
            full = {
                p: self.rounded_sum(self.base[p], self.delta[p]) if coded else self.base[p] + self.delta[p]
                for p in PARTS
            }
        leaves = {p: w.to(self.dtype).requires_grad_() for p, w in full.items()}
        return leaves, {p: leaf.unbind(0) for p, leaf in leaves.items()}

    def target(self, progress: float, start: float) -> float:
        """The wanted density: geometrically from `start` to the final one.

        Below `firm` it waits while the divergence is larger than `patience`.
        """
        share = (progress - self.option.local) / (self.option.ramp - self.option.local)
        line = start * (self.option.density / start) ** min(1.0, max(0.0, share))
        goal = self.goal or start
        if line < goal and (goal > self.option.firm or self.divergence_seen < self.option.patience):
            goal = max(line, goal * 0.998)
        self.goal = goal
        return goal

    def control(self, density: float, target: float):
        self.smoothed = density if self.smoothed is None else 0.9 * self.smoothed + 0.1 * density
        push = max(-1.0, min(1.0, 10 * (self.smoothed / target - 1)))
        self.pressure = min(50.0, max(0.003, self.pressure * math.exp(0.03 * push)))

    def local_loss(self, tokens, seen):
        with torch.no_grad():
            embedded = F.embedding(tokens, self.weights["embd"]).float()
            states = model.forward(tokens, self.weights, None, False, self.block)[1]
        loss, exact, w = 0.0, [], self.weights
        for i, x in enumerate([embedded, *states[:-1]]):
            own = [seen[p][i] for p in PARTS]
            with torch.no_grad():
                x = self.attended(x, i)
            error, smooth, share = self.alone(x, w["ffn_norm"][i], *[w[p][i] for p in PARTS], *own)
            loss = loss + error + 0.3 * smooth
            exact.append(share)
        return loss, {"error": loss.detach() / model.LAYERS}, torch.stack(exact).mean()

    def attended(self, x, i):
        attn_norm, attn_qkv, attn_output, *_ = model.layer_weights(self.weights, i)
        table = model.rope_table(x.shape[1], x.device)
        q, k, v = model.heads(F.linear(model.norm(x, attn_norm).to(self.dtype), attn_qkv), table)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return x + F.linear(mixed.transpose(1, 2).flatten(-2), attn_output).float()

    def whole_loss(self, tokens, seen, progress):
        with torch.no_grad():
            wanted, states, _, _ = model.forward(tokens, self.weights, None, False, self.block)
        found, own, smooth, exact = model.forward(tokens, self.weights, seen, True, self.block)
        kl = self.divergence(found.flatten(0, 1), wanted.flatten(0, 1), self.weights["embd"])
        hidden = sum(self.difference(s, t) for s, t in zip(own, states)) / model.LAYERS
        weight = self.option.hidden * (1 - progress) + 0.02
        loss = kl + weight * hidden + self.pressure * smooth.mean()
        return loss, {"kl": kl.detach(), "hidden": hidden.detach()}, exact.mean()

    def rate(self, progress: float) -> float:
        warm = min(1.0, len(self.log_times) / 100)
        late = max(0.0, (progress - self.option.flat) / (1 - self.option.flat))
        return self.option.rate * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * late)))

    def step(self, progress: float):
        local, coded = progress < self.option.local, progress >= self.option.coded
        leaves, seen = self.seen(coded)
        tokens = self.draw()
        if local:
            loss, parts, density = self.local_loss(tokens, seen)
        else:
            loss, parts, density = self.whole_loss(tokens, seen, progress)
        loss.backward()
        for part in PARTS:
            self.delta[part].grad = leaves[part].grad.float()
        norm = torch.nn.utils.clip_grad_norm_(self.delta.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(progress)
        self.optimizer.step()
        return parts, density, norm

    def run(self):
        self.log_times = []
        began = time.monotonic()
        paused, next_look, start = 0.0, self.option.every, None
        while (elapsed := time.monotonic() - began - paused) < min(self.option.seconds, self.option.stop):
            progress = elapsed / self.option.seconds
            parts, density, norm = self.step(progress)
            # Reading the density waits for the step; the clock of the schedule is then honest.
            density = density.item()
            self.log_times.append(elapsed)
            if progress >= self.option.local:
                start = start or density
                self.divergence_seen += 0.02 * (float(parts.get("kl", 1.0)) - self.divergence_seen)
                self.control(density, self.target(progress, start))
            if len(self.log_times) % 50 == 0:
                self.note(elapsed, parts, density, norm, start)
            if elapsed >= next_look:
                look = time.monotonic()
                self.look(elapsed)
                next_look += self.option.every
                paused += time.monotonic() - look
        self.steps = len(self.log_times)

    def note(self, elapsed, parts, density, norm, start):
        row = {"step": len(self.log_times), "seconds": round(elapsed, 1), "density": round(density, 4),
               "pressure": round(self.pressure, 3), "norm": round(norm.item(), 3)}
        if start:
            row["target"] = round(self.goal, 4)
        row |= {name: round(float(value), 4) for name, value in parts.items()}
        self.log.append(row)
        print(json.dumps(row), flush=True)

    def look(self, elapsed):
        coded = {p: codes.encode(self.delta[p].detach()) for p in PARTS}
        row = {"seconds": round(elapsed), **evaluate.short(self, coded)}
        self.curve.append(row)
        print(json.dumps(row), flush=True)
        save(self.option.out, coded)

    def finish(self):
        coded = {p: codes.encode(self.delta[p].detach()) for p in PARTS}
        save(self.option.out, coded)
        sizes = {p: round((self.delta[p].norm() / self.base[p].norm()).item(), 4) for p in PARTS}
        record = {
            "settings": {k: v for k, v in vars(self.option).items() if k not in ("work", "original", "out", "resume")},
            "resumed": self.option.resume is not None, "torch": torch.__version__, "steps": self.steps,
            "tokens": self.steps * self.option.batch * self.length,
            "sampled tokens": self.samples.numel(),
            "delta, norm relative to the original": sizes,
            "curve": self.curve, "log": self.log,
        }
        path = self.option.out / "training.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        record["result"] = evaluate.full(self, coded)
        path.write_text(json.dumps(record, indent=1) + "\n")


def save(out: Path, coded: dict):
    """One file for each kind of matrix: codes of 3 bits, then the scales."""
    out.mkdir(parents=True, exist_ok=True)
    for part, (code, scale) in coded.items():
        data = codes.pack(code).tobytes() + scale.cpu().numpy().astype("<f2").tobytes()
        temporary = out / f"{part}.tmp"
        temporary.write_bytes(data)
        temporary.rename(out / f"{part}.delta")


def main() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    trainer = Trainer(options())
    trainer.run()
    trainer.finish()


if __name__ == "__main__":
    main()
