"""Makes smollm2_reference.json: what llama.cpp computes for SmolLM2-135M-Instruct Q4_1.

usage: python smollm2_reference.py MODEL.gguf EVALUATION.json > smollm2_reference.json

Needs llama-cpp-python (made with 0.3.36) and numpy. EVALUATION.json is an earlier
smollm2_reference.json, whose evaluation tokens (a public-domain text) are used again.
"""

import hashlib
import json
import sys

import jinja2.sandbox
import llama_cpp
import llama_cpp.llama_cpp as low
import numpy as np

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea, there lived a",
]
CHAT = [{"role": "user", "content": "What is the capital of France?"}]
TEXTS = [
    "Hello, world!\n\n  x = 1234567 + 89",
    "naïve café — “quotes” 🦀🚀 中文字符",
    "\t\ttabs\r\nwin",
    "<|im_start|>user\nhi<|im_end|>\n",
    " leading and trailing  ",
    "I'll don't WE'RE 3.14159",
    "",
    "a",
    "\u00a0nbsp\u2003em",
    "def f(x):\n    return x**2\n",
]
GENERATE = 64
EVERY = 48  # logits kept: every 48th id and the 32 largest


def without_repacking():
    """The plain CPU buffers: repacked ones (AMX) crash on some virtual machines."""
    defaults = low.llama_model_default_params

    def patched():
        params = defaults()
        params.use_extra_bufts = False
        return params

    low.llama_model_default_params = patched


def load(path, n_ctx):
    return llama_cpp.Llama(
        path, n_ctx=n_ctx, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )


def continuation(llm, text, messages):
    tokens = llm.tokenize(text.encode(), add_bos=False, special=True)
    llm.reset()
    llm.eval(tokens)
    last = np.array(llm.scores[len(tokens) - 1], dtype=np.float64)
    top = np.argsort(-last, kind="stable")[:32].tolist()
    ids = sorted(set(top) | set(range(0, len(last), EVERY)))
    generated, margins = [], []
    for i in range(GENERATE):
        logits = llm.scores[len(tokens) - 1 + i]
        first, second = np.argsort(-logits, kind="stable")[:2]
        generated.append(int(first))
        margins.append(round(float(logits[first] - logits[second]), 4))
        if first == llm.token_eos() or i + 1 == GENERATE:
            break
        llm.eval([int(first)])
    return {
        "prompt": text,
        "messages": messages,
        "prompt_tokens": tokens,
        "generated": generated,
        "margins": margins,
        "text": llm.detokenize(generated).decode("utf-8", "replace"),
        "logits": [[i, round(float(last[i]), 4)] for i in ids],
    }


def perplexity(llm, tokens, window):
    top1, margins, nlls = [], [], []
    for start in range(0, len(tokens), window):
        part = tokens[start : start + window]
        llm.reset()
        llm.eval(part)
        logits = np.array(llm.scores[:window], dtype=np.float64)
        top1 += logits.argmax(1).tolist()
        two = np.sort(logits, axis=1)[:, -2:]
        margins += [round(m, 3) for m in (two[:, 1] - two[:, 0]).tolist()]
        peak = logits.max(1, keepdims=True)
        lse = np.log(np.exp(logits - peak).sum(1)) + peak[:, 0]
        nlls.append(lse[:-1] - logits[np.arange(window - 1), part[1:]])
    return {
        "text": "Jane Austen, Mansfield Park (public domain), paragraphs unwrapped, from byte 100000",
        "scored": "tokens 1.. of each window, no BOS",
        "window": window,
        "ppl": round(float(np.exp(np.concatenate(nlls).mean())), 4),
        "window_ppl": [round(float(np.exp(n.mean())), 4) for n in nlls],
        "tokens": tokens,
        "nll": [round(float(x), 3) for n in nlls for x in n],
        "top1": top1,
        "margins": margins,
    }


def main():
    model, evaluation = sys.argv[1:]
    with open(evaluation, encoding="utf-8") as file:
        evaluation = json.load(file)["perplexity"]
    without_repacking()
    llm = load(model, 1024)
    jinja = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = jinja.from_string(llm.metadata["tokenizer.chat_template"])
    chat = template.render(messages=CHAT, add_generation_prompt=True)
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    result = {
        "model": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "model_sha256": digest,
        "engine": f"llama-cpp-python {llama_cpp.__version__}, 1 thread, f16 KV, no repacking",
        "prompts": [continuation(llm, p, None) for p in PROMPTS] + [continuation(llm, chat, CHAT)],
        "tokenize": [
            {"text": t, "tokens": llm.tokenize(t.encode(), add_bos=False, special=True)}
            for t in TEXTS
        ],
        "perplexity": perplexity(llm, evaluation["tokens"], evaluation["window"]),
    }
    fields = (json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in result.items())
    print("{\n" + ",\n".join(fields) + "\n}")


main()
