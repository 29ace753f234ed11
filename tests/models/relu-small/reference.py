"""Runs the file in PyTorch, in f64, and writes what it answers to reference.json.

The weights are read back out of the GGUF file, so the file is judged and not what training held.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import shape
from model import Model

PROMPTS = ["It is a truth universally acknowledged, that", "Elizabeth was", "The history of the world"]
GENERATED = 32
# Where the tokens of the reference window begin in the held-out text.
WINDOW = 10_000
LENGTH = 256


def load(path: Path) -> Model:
    model = Model(0.0).double().eval()
    parameters = {name if name.endswith(".weight") else f"{name}.weight": p for name, p in model.named_parameters()}
    for tensor in gguf.GGUFReader(path).tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        parameters.pop(tensor.name).data.copy_(torch.from_numpy(data.copy()))
    if parameters:
        raise SystemExit(f"{path}: lacks {sorted(parameters)}")
    return model


@torch.no_grad()
def greedy(model: Model, tokenizer: Tokenizer, prompt: str) -> dict:
    tokens = tokenizer.encode(prompt).ids
    start, margin = len(tokens), float("inf")
    prompt_tokens = list(tokens)
    for _ in range(GENERATED):
        logits = model(torch.tensor([tokens]), False)[0][0, -1]
        second, first = logits.sort().values[-2:]
        margin = min(margin, float(first - second))
        tokens.append(int(logits.argmax()))
    return {
        "prompt": prompt, "prompt_tokens": prompt_tokens, "generated": tokens[start:],
        "text": tokenizer.decode(tokens[start:]), "smallest_margin": round(margin, 5),
    }


@torch.no_grad()
def window(model: Model, tokens: list[int]) -> dict:
    logits, gates = model(torch.tensor([tokens]), False)
    nll = F.cross_entropy(logits[0, :-1], torch.tensor(tokens[1:]))
    zeros = [round(float((g <= 0).double().mean()), 6) for g in gates]
    return {"tokens": tokens, "perplexity": round(float(nll.exp()), 6), "zeros": zeros}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with tokenizer.json, valid.npy")
    arguments.add_argument("training", type=Path, help="training.json of the run that made the file")
    arguments.add_argument("file", type=Path, help="the GGUF file")
    arguments.add_argument("reference", type=Path, help="the JSON file to write")
    option = arguments.parse_args()
    model = load(option.file)
    tokenizer = Tokenizer.from_file(str(option.work / "tokenizer.json"))
    held_out = np.load(option.work / "valid.npy").tolist()
    reference = {
        "model": option.file.name,
        "sha256": hashlib.sha256(option.file.read_bytes()).hexdigest(),
        "engine": f"PyTorch {torch.__version__}, f64",
        "greedy": [greedy(model, tokenizer, prompt) for prompt in PROMPTS],
        "window": {
            "text": f"Mansfield Park, tokens {WINDOW} to {WINDOW + LENGTH - 1}; tokens 1.. are scored",
            **window(model, held_out[WINDOW : WINDOW + LENGTH]),
        },
        "held_out": json.loads(option.training.read_text())["held out"],
    }
    option.reference.write_text(json.dumps(reference, indent=1) + "\n")
    for run in reference["greedy"]:
        print(f"{run['prompt']}|{run['text']}")
    print({k: v for k, v in reference["window"].items() if k != "tokens"}, reference["held_out"])


if __name__ == "__main__":
    main()
