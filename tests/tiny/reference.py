"""Runs the file in llama.cpp and writes what it answers to reference.json.

Fails if llama.cpp splits the held-out text into other tokens than the tokenizer that the model
was trained with, or if its perplexity is not the trained one's.
"""

import argparse
import hashlib
import json
import math
from importlib.metadata import version
from pathlib import Path

import numpy as np
from llama_cpp import Llama
from tokenizers import Tokenizer

import shape

PROMPTS = [
    "It is a truth universally acknowledged, that",
    "Elizabeth was",
    '"My dear Emma," said Mr. Knightley, "I',
]
GENERATED = 32
# Where the 512 tokens of the reference window begin in the held-out text.
WINDOW = 10_000
# llama.cpp rounds activations to 8 bits in front of 4-bit weights; training did not.
TOLERANCE = 0.01


def scores(llama: Llama, tokens: list[int]) -> np.ndarray:
    """Logits [len(tokens), VOCABULARY] after each token, from an empty context.

    One token at a time, as in decoding: llama.cpp's kernels for whole batches differ between
    processors, and those for AMX were seen to crash.
    """
    llama.reset()
    for token in tokens:
        llama.eval([token])
    return np.array(llama.scores[: len(tokens)], dtype=np.float64)


def surprise(logits: np.ndarray, tokens: list[int]) -> float:
    """Sum over tokens 1.. of the negative log-likelihood in nats."""
    logits = logits[:-1] - logits[:-1].max(1, keepdims=True)
    chosen = logits[np.arange(len(tokens) - 1), tokens[1:]]
    return float((np.log(np.exp(logits).sum(1)) - chosen).sum())


def perplexity(llama: Llama, windows: list[list[int]]) -> float:
    total = sum(surprise(scores(llama, window), window) for window in windows)
    return math.exp(total / sum(len(window) - 1 for window in windows))


def greedy(llama: Llama, prompt: str) -> dict:
    tokens = llama.tokenize(prompt.encode(), add_bos=False, special=False)
    logits = scores(llama, tokens)[-1]
    generated, margin = [], math.inf
    for _ in range(GENERATED):
        second, first = np.sort(logits)[-2:]
        margin = min(margin, float(first - second))
        generated.append(int(logits.argmax()))
        llama.eval(generated[-1:])
        logits = np.array(llama.scores[llama.n_tokens - 1], dtype=np.float64)
    return {
        "prompt": prompt,
        "prompt_tokens": tokens,
        "generated": generated,
        "text": llama.detokenize(generated).decode(errors="replace"),
        "smallest_margin": round(margin, 4),
    }


def check_tokens(llama: Llama, tokenizer: Tokenizer, held_out: list[int]) -> None:
    """Every held-out chapter comes back from llama.cpp's tokenizer as the same ids and bytes."""
    boundaries = [i for i, token in enumerate(held_out) if token == shape.BOUNDARY_ID]
    for start, end in zip(boundaries, boundaries[1:]):
        expected = held_out[start + 1 : end]
        chapter = tokenizer.decode(expected).encode()
        if llama.tokenize(chapter, add_bos=False, special=False) != expected:
            raise SystemExit(f"llama.cpp splits the chapter at token {start} into other tokens")
        if llama.detokenize(expected) != chapter:
            raise SystemExit(f"llama.cpp spells the chapter at token {start} in other bytes")


def check_perplexity(found: float, record: Path) -> float:
    trained = json.loads(record.read_text())["log"][-1]["held-out perplexity, quantized"]
    if abs(found / trained - 1) > TOLERANCE:
        raise SystemExit(f"llama.cpp's perplexity is {found:.3f}, training's was {trained:.3f}")
    return trained


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with tokenizer.json, valid.npy, training.json")
    arguments.add_argument("file", type=Path, help="the GGUF file")
    arguments.add_argument("reference", type=Path, help="the JSON file to write")
    option = arguments.parse_args()
    llama = Llama(str(option.file), n_ctx=shape.CONTEXT, logits_all=True, n_threads=1, verbose=False)
    held_out = np.load(option.work / "valid.npy").tolist()
    check_tokens(llama, Tokenizer.from_file(str(option.work / "tokenizer.json")), held_out)

    full = range(0, len(held_out) - shape.CONTEXT + 1, shape.CONTEXT)
    everything = perplexity(llama, [held_out[start : start + shape.CONTEXT] for start in full])
    trained = check_perplexity(everything, option.work / "training.json")
    window = held_out[WINDOW : WINDOW + shape.CONTEXT]
    reference = {
        "model": option.file.name,
        "sha256": hashlib.sha256(option.file.read_bytes()).hexdigest(),
        "engine": f"llama-cpp-python {version('llama-cpp-python')}, 1 thread, f16 KV cache",
        "greedy": [greedy(llama, prompt) for prompt in PROMPTS],
        "perplexity": {
            "text": f"Mansfield Park, tokens {WINDOW} to {WINDOW + shape.CONTEXT - 1}; tokens 1.. are scored",
            "tokens": window,
            "llama.cpp": round(perplexity(llama, [window]), 4),
        },
        "held_out_perplexity": {
            "text": f"Mansfield Park, {len(full)} windows of {shape.CONTEXT}; tokens 1.. of each are scored",
            "llama.cpp": round(everything, 4),
            "training": trained,
        },
    }
    option.reference.write_text(json.dumps(reference, indent=1) + "\n")
    for run in reference["greedy"]:
        print(f"{run['prompt']}|{run['text']}")
    print(reference["held_out_perplexity"])


if __name__ == "__main__":
    main()
