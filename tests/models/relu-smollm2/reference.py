"""Recomputes in PyTorch, in f32, what the tests compare the built file with: reference.json.

The weights are read out of the built GGUF file, so the file is judged and not what training held.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import model

# Where the tokens of the reference window begin in the held-out text.
WINDOW = 20_000
LENGTH = 128


@torch.no_grad()
def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with held_out.npy")
    arguments.add_argument("file", type=Path, help="the built GGUF file")
    arguments.add_argument("reference", type=Path, help="the JSON file to write")
    option = arguments.parse_args()
    weights = model.load(option.file)
    tokens = np.load(option.work / "held_out.npy")[WINDOW : WINDOW + LENGTH].astype(np.int64).tolist()
    hidden, _, _, active = model.forward(torch.tensor([tokens]), weights, None, True)
    logits = F.linear(hidden[0], weights["embd"])
    nll = F.cross_entropy(logits[:-1], torch.tensor(tokens[1:]), reduction="none").double()
    second, first = logits.sort().values[:, -2:].unbind(1)
    reference = {
        "model": option.file.name,
        "sha256": hashlib.sha256(option.file.read_bytes()).hexdigest(),
        "engine": f"PyTorch {torch.__version__}, f32",
        "text": f"Mansfield Park, tokens {WINDOW} to {WINDOW + LENGTH - 1}; tokens 1.. are scored",
        "tokens": tokens,
        "perplexity": round(float(nll.mean().exp()), 5),
        "top1": logits.argmax(1).tolist(),
        "margins": [round(x, 4) for x in (first - second).tolist()],
        "zeros": [round(1 - x, 5) for x in active.tolist()],
    }
    option.reference.write_text(json.dumps(reference) + "\n")
    print(reference["perplexity"], 1 - active.mean())


if __name__ == "__main__":
    main()
