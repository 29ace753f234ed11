"""Makes decoders.json: tiny random decoders of each kind and their logits, in f64.

usage: python decoders.py > decoders.json

Needs numpy only. Written from the papers and the model classes of Hugging Face, not from this
project's code, so that the reference executor has an independent judge for what the real test
model does not use: biases, LayerNorm, learned positions, untied heads, layers of different
shape, RoPE of half-split heads, RoPE scaling.

Weights are not stored: element i of a tensor follows from the tensor's name (`elements`).
"""

import json

import numpy as np

TOKENS = [3, 17, 0, 22, 5, 5, 9, 30, 1, 12, 28, 7]
VOCAB, WIDTH, CONTEXT = 32, 16, 24


def elements(name, shape):
    """FNV-1a of the name seeds a linear congruence; 20 bits give a number in -0.5..0.5.

    Norm weights and frequency factors (names ending in `norm.weight` or `rope_freqs.weight`)
    are moved to 0.5..1.5.
    """
    state = 0x811C9DC5
    for byte in name.encode():
        state = (state ^ byte) * 0x01000193 % 2**32
    values = np.empty(int(np.prod(shape)))
    for i in range(len(values)):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 12) / 2**20 - 0.5
    if name.endswith(("norm.weight", "rope_freqs.weight")):
        values += 1.0
    return values.reshape(shape)


class Weights:
    """Makes tensors as they are asked for and remembers them for the list in the file."""

    def __init__(self):
        self.made = {}

    def __call__(self, name, *shape):
        if name not in self.made:
            self.made[name] = elements(name, shape)
        assert self.made[name].shape == shape
        return self.made[name]

    def listing(self):
        """Name and shape, row length first."""
        return [[name, list(w.shape[::-1])] for name, w in self.made.items()]


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attention(q, k, v):
    """q [n, heads, d], k and v [n, kv_heads, d]: causal, heads share keys in groups."""
    n, heads, d = q.shape
    group = heads // k.shape[1]
    out = np.empty((n, heads, v.shape[2]))
    for h in range(heads):
        scores = q[:, h] @ k[:, h // group].T / np.sqrt(d)
        scores[np.triu_indices(n, 1)] = -np.inf
        out[:, h] = softmax(scores) @ v[:, h // group]
    return out.reshape(n, -1)


def rotate(x, freq, half_split):
    """RoPE as complex multiplication; x is [n, heads, d], freq [d / 2]."""
    turn = np.exp(1j * np.arange(len(x))[:, None, None] * freq)
    out = np.empty_like(x)
    if half_split:
        half = x.shape[-1] // 2
        z = (x[..., :half] + 1j * x[..., half:]) * turn
        out[..., :half], out[..., half:] = z.real, z.imag
    else:
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        out[..., 0::2], out[..., 1::2] = z.real, z.imag
    return out


def rms_norm(x, weight, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def layer_norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def frequencies(head_dim, base):
    return base ** (-np.arange(0, head_dim, 2) / head_dim)


def llama3_scaling(freq, factor, low, high, original):
    """The rule published with Llama 3.1."""
    out = []
    for f in freq:
        wavelength = 2 * np.pi / f
        if wavelength < original / high:
            out.append(f)
        elif wavelength > original / low:
            out.append(f / factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            out.append((1 - smooth) * f / factor + smooth * f)
    return np.array(out)


GGUF_NAMES = {
    "q": "blk.{}.attn_q", "k": "blk.{}.attn_k", "v": "blk.{}.attn_v", "o": "blk.{}.attn_output",
    "gate": "blk.{}.ffn_gate", "up": "blk.{}.ffn_up", "down": "blk.{}.ffn_down",
    "norm1": "blk.{}.attn_norm", "norm2": "blk.{}.ffn_norm",
    "embed": "token_embd", "norm": "output_norm", "head": "output",
}  # fmt: skip
HF_NAMES = {
    "q": "model.layers.{}.self_attn.q_proj", "k": "model.layers.{}.self_attn.k_proj",
    "v": "model.layers.{}.self_attn.v_proj", "o": "model.layers.{}.self_attn.o_proj",
    "gate": "model.layers.{}.mlp.gate_proj", "up": "model.layers.{}.mlp.up_proj",
    "down": "model.layers.{}.mlp.down_proj", "norm1": "model.layers.{}.input_layernorm",
    "norm2": "model.layers.{}.post_attention_layernorm",
    "embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head",
}  # fmt: skip


def llama(names, layers, head_dim, eps, freq, half_split, qkv_bias=False, tied=True, weights=None):
    """`layers` lists (heads, kv_heads, ffn width). Returns the tensors and the logits."""
    w = weights or Weights()
    x = w(names["embed"] + ".weight", VOCAB, WIDTH)[TOKENS]
    n = len(TOKENS)
    for i, (heads, kv_heads, ffn) in enumerate(layers):
        name = lambda key: names[key].format(i)

        def linear(key, x, rows, bias=False):
            y = x @ w(name(key) + ".weight", rows, x.shape[-1]).T
            return y + w(name(key) + ".bias", rows) if bias else y

        h = rms_norm(x, w(name("norm1") + ".weight", WIDTH), eps)
        q = linear("q", h, heads * head_dim, qkv_bias).reshape(n, heads, -1)
        k = linear("k", h, kv_heads * head_dim, qkv_bias).reshape(n, kv_heads, -1)
        v = linear("v", h, kv_heads * head_dim, qkv_bias).reshape(n, kv_heads, -1)
        h = attention(rotate(q, freq, half_split), rotate(k, freq, half_split), v)
        x = x + linear("o", h, WIDTH)
        h = rms_norm(x, w(name("norm2") + ".weight", WIDTH), eps)
        gate = linear("gate", h, ffn)
        x = x + linear("down", gate / (1 + np.exp(-gate)) * linear("up", h, ffn), WIDTH)
    x = rms_norm(x, w(names["norm"] + ".weight", WIDTH), eps)
    return w, x @ w(names["embed" if tied else "head"] + ".weight", VOCAB, WIDTH).T


def opt(layers, heads, ffn):
    w = Weights()
    root, n = "model.decoder.", len(TOKENS)

    def linear(name, x, rows):
        return x @ w(name + ".weight", rows, x.shape[-1]).T + w(name + ".bias", rows)

    def norm(name, x):
        return layer_norm(x, w(name + ".weight", WIDTH), w(name + ".bias", WIDTH))

    x = w(root + "embed_tokens.weight", VOCAB, WIDTH)[TOKENS]
    # Two rows are kept free at the start of the position table.
    x = x + w(root + "embed_positions.weight", CONTEXT + 2, WIDTH)[2 : 2 + n]
    for i in range(layers):
        layer = f"{root}layers.{i}."
        h = norm(layer + "self_attn_layer_norm", x)
        q, k, v = (
            linear(f"{layer}self_attn.{p}_proj", h, WIDTH).reshape(n, heads, -1) for p in "qkv"
        )
        x = x + linear(layer + "self_attn.out_proj", attention(q, k, v), WIDTH)
        h = np.maximum(linear(layer + "fc1", norm(layer + "final_layer_norm", x), ffn), 0)
        x = x + linear(layer + "fc2", h, WIDTH)
    x = norm(root + "final_layer_norm", x)
    return w, x @ w(root + "embed_tokens.weight", VOCAB, WIDTH).T


def gguf_metadata(arch, layers, head_dim, eps, base, **more):
    """Per-layer values are arrays only where the layers differ."""
    values = lambda i: [l[i] for l in layers]
    uniform = lambda v: v[0] if len(set(v)) == 1 else v
    metadata = {
        "block_count": len(layers),
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "feed_forward_length": uniform(values(2)),
        "attention.head_count": uniform(values(0)),
        "attention.head_count_kv": uniform(values(1)),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": eps,
        "rope.freq_base": base,
        "rope.dimension_count": head_dim,
        **more,
    }
    named = {f"{arch}.{key}": value for key, value in metadata.items()}
    return {"general.architecture": arch, "general.name": "test"} | named


def hf_config(kind, layers, head_dim, eps, base, **more):
    (heads, kv_heads, ffn) = layers[0]
    return {
        "model_type": kind,
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": ffn,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": eps,
        "rope_theta": base,
        "hidden_act": "silu",
        **more,
    }


def case(name, weights, logits, metadata=None, config=None):
    return {
        "name": name,
        "metadata": metadata,
        "config": config,
        "tensors": weights.listing(),
        "tokens": TOKENS,
        "logits": [[round(float(v), 6) for v in row] for row in logits],
    }


def llama_cases():
    eps, base = 0.0078125, 500.0
    mixed = [(4, 2, 24), (2, 1, 40), (4, 4, 16)]
    plain = frequencies(8, base)
    yield case(
        "llama GGUF, grouped queries, layers of different shape, untied head",
        *llama(GGUF_NAMES, mixed, 8, eps, plain, half_split=False, tied=False),
        metadata=gguf_metadata("llama", mixed, 8, eps, base),
    )
    same = [(4, 2, 24)] * 2
    scaling = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    yield case(
        "llama GGUF, linear RoPE scaling, tied head",
        *llama(GGUF_NAMES, same, 8, eps, plain / 4, half_split=False),
        metadata=gguf_metadata("llama", same, 8, eps, base, **scaling),
    )
    weights = Weights()
    factors = weights("rope_freqs.weight", 4)
    yield case(
        "llama GGUF, frequency factors",
        *llama(GGUF_NAMES, same, 8, eps, plain / factors, half_split=False, weights=weights),
        metadata=gguf_metadata("llama", same, 8, eps, base),
    )
    rule = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    scaled = llama3_scaling(plain, 8.0, 1.0, 4.0, 32)
    # One frequency is kept, one lies in the smooth part, the others are divided.
    assert scaled[0] == plain[0] and plain[1] / 8 < scaled[1] < plain[1]
    assert np.array_equal(scaled[2:], plain[2:] / 8)
    yield case(
        "llama Hugging Face, half-split heads, llama3 RoPE scaling, untied head",
        *llama(HF_NAMES, same, 8, eps, scaled, half_split=True, tied=False),
        config=hf_config("llama", same, 8, eps, base, rope_scaling=rule, tie_word_embeddings=False),
    )


def qwen2_cases():
    eps, base, layers = 0.0078125, 500.0, [(4, 2, 24)] * 2
    freq = frequencies(4, base)
    yield case(
        "qwen2 GGUF, half-split heads, QKV bias",
        *llama(GGUF_NAMES, layers, 4, eps, freq, half_split=True, qkv_bias=True),
        metadata=gguf_metadata("qwen2", layers, 4, eps, base),
    )
    yield case(
        "qwen2 Hugging Face, QKV bias",
        *llama(HF_NAMES, layers, 4, eps, freq, half_split=True, qkv_bias=True),
        config=hf_config("qwen2", layers, 4, eps, base, tie_word_embeddings=True),
    )


def opt_case():
    config = {
        "model_type": "opt",
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "word_embed_proj_dim": WIDTH,
        "ffn_dim": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "activation_function": "relu",
        "do_layer_norm_before": True,
    }
    return case("opt Hugging Face", *opt(2, 4, 40), config=config)


def main():
    cases = [*llama_cases(), *qwen2_cases(), opt_case()]
    lines = (json.dumps(c, separators=(",", ":")) for c in cases)
    print("[\n" + ",\n".join(lines) + "\n]")


main()
