"""Makes smollm2_exact.json: SmolLM2-135M-Instruct Q4_1 in f64, written without this project.

usage: python smollm2_exact.py MODEL.gguf smollm2_reference.json > smollm2_exact.json

Needs numpy only. Weights are dequantized exactly and everything else is f64, so a difference of
more than f32 rounding in the reference executor is an error there. Evaluates the prompts and the
perplexity windows of smollm2_reference.json.
"""

import json
import struct
import sys

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize(code)
        return value

    def text(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind, count = self.take("I"), self.take("Q")
            return [self.value(kind) for _ in range(count)]
        return self.take(SCALARS[kind])


def read_gguf(path):
    with open(path, "rb") as file:
        reader = Reader(file.read())
    magic, version, tensors, keys = (reader.take(c) for c in "IIQQ")
    assert magic == int.from_bytes(b"GGUF", "little") and version == 3
    metadata = {}
    for _ in range(keys):
        key = reader.text()
        metadata[key] = reader.value(reader.take("I"))
    table = []
    for _ in range(tensors):
        name = reader.text()
        dims = [reader.take("Q") for _ in range(reader.take("I"))]
        table.append((name, dims, reader.take("I"), reader.take("Q")))
    start = (reader.at + 31) // 32 * 32
    return metadata, {n: dequantize(reader.data, d, t, start + o) for n, d, t, o in table}


def dequantize(data, dims, kind, at):
    count = int(np.prod(dims))
    if kind == F32:
        values = np.frombuffer(data, "<f4", count, at)
    elif kind == Q8_0:
        block = np.frombuffer(data, [("d", "<f2"), ("q", "i1", 32)], count // 32, at)
        values = block["d"].astype("f4")[:, None] * block["q"]
    elif kind == Q4_1:
        block = np.frombuffer(data, [("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)], count // 32, at)
        codes = np.concatenate([block["q"] & 15, block["q"] >> 4], axis=1).astype("f4")
        values = codes * block["d"].astype("f4")[:, None] + block["m"].astype("f4")[:, None]
    else:
        raise ValueError(f"tensor type {kind}")
    return values.reshape(dims[::-1]).astype("f8")


class Llama:
    def __init__(self, path):
        meta, self.weights = read_gguf(path)
        self.layers = meta["llama.block_count"]
        self.heads = meta["llama.attention.head_count"]
        self.kv_heads = meta["llama.attention.head_count_kv"]
        self.eps = meta["llama.attention.layer_norm_rms_epsilon"]
        self.base = meta["llama.rope.freq_base"]

    def norm(self, x, name):
        scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return x * scale * self.weights[name + ".weight"]

    def rope(self, x):
        pairs = np.arange(0, x.shape[-1], 2) / x.shape[-1]
        angle = np.arange(len(x))[:, None, None] * self.base ** -pairs
        even, odd = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
        out[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
        return out

    def attention(self, x, layer):
        linear = lambda name, x: x @ self.weights[f"blk.{layer}.{name}.weight"].T
        n, heads, kv_heads = len(x), self.heads, self.kv_heads
        q = self.rope(linear("attn_q", x).reshape(n, heads, -1))
        k = self.rope(linear("attn_k", x).reshape(n, kv_heads, -1)).repeat(heads // kv_heads, 1)
        v = linear("attn_v", x).reshape(n, kv_heads, -1).repeat(heads // kv_heads, 1)
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
        scores[:, ~np.tril(np.ones((n, n), bool))] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return linear("attn_output", np.einsum("hts,shd->thd", scores, v).reshape(n, -1))

    def ffn(self, x, layer):
        linear = lambda name, x: x @ self.weights[f"blk.{layer}.{name}.weight"].T
        gate = linear("ffn_gate", x)
        return linear("ffn_down", gate / (1 + np.exp(-gate)) * linear("ffn_up", x))

    def hidden(self, tokens):
        x = self.weights["token_embd.weight"][tokens]
        for layer in range(self.layers):
            x = x + self.attention(self.norm(x, f"blk.{layer}.attn_norm"), layer)
            x = x + self.ffn(self.norm(x, f"blk.{layer}.ffn_norm"), layer)
        return self.norm(x, "output_norm")

    def logits(self, hidden):
        return hidden @ self.weights["token_embd.weight"].T


def score(model, window):
    """Negative log-likelihoods, top-1 and its margin over the second, after each token."""
    nll, top1, margins = [], [], []
    for i, hidden in enumerate(model.hidden(window)):
        logits = model.logits(hidden)
        second, first = np.sort(logits)[-2:]
        top1.append(int(logits.argmax()))
        margins.append(round(float(first - second), 4))
        if i + 1 < len(window):
            total = np.log(np.exp(logits - first).sum()) + first
            nll.append(round(float(total - logits[window[i + 1]]), 4))
    return {"nll": nll, "top1": top1, "margins": margins}


def main():
    model = Llama(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        reference = json.load(file)
    prompts = []
    for prompt in reference["prompts"]:
        logits = model.logits(model.hidden(prompt["prompt_tokens"])[-1])
        ids = [i for i, _ in prompt["logits"]]
        prompts.append([[i, round(float(logits[i]), 4)] for i in ids])
    text = reference["perplexity"]
    starts = range(0, len(text["tokens"]), text["window"])
    windows = [score(model, text["tokens"][s : s + text["window"]]) for s in starts]
    result = {"engine": "numpy, f64", "prompt_logits": prompts, "windows": windows}
    fields = (json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in result.items())
    print("{\n" + ",\n".join(fields) + "\n}")


main()
