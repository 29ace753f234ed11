"""Prints greedy answers to ten prompts, all at once, from the original or a built file."""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

import model
import sample
import vocabulary

STOP = (0, 2)


@torch.no_grad()
def answers(weights, prompts: list[list[int]], relu: bool, most: int) -> list[list[int]]:
    """Continuations of the prompts, each up to a stop token."""
    sample.LENGTH = max(map(len, prompts)) + most
    layers = [model.layer_weights(weights, i) for i in range(model.LAYERS)]
    table = model.rope_table(sample.LENGTH, weights["embd"].device)
    cache = sample.Cache(len(prompts), weights["embd"].device, weights["embd"].dtype)
    rows = [list(prompt) for prompt in prompts]
    for position in range(sample.LENGTH - 1):
        tokens = torch.tensor([row[position] if position < len(row) else STOP[0] for row in rows])
        logits = sample.step(tokens, position, weights, layers, table, cache, relu)
        for row, best, prompt in zip(rows, logits.argmax(-1).tolist(), prompts):
            done = len(row) > len(prompt) and row[-1] in STOP
            if position + 1 == len(row) and not done and len(row) < len(prompt) + most:
                row.append(best)
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("work", type=Path, help="folder with chats.json")
    arguments.add_argument("file", type=Path, help="GGUF file")
    arguments.add_argument("--relu", action="store_true", help="the file is a built one")
    arguments.add_argument("--most", type=int, default=64, help="tokens of an answer")
    option = arguments.parse_args()
    chats = json.loads((option.work / "chats.json").read_text())
    tokenizer = vocabulary.tokenizer(option.file)
    found = answers(model.load(option.file), [c["tokens"] for c in chats], option.relu, option.most)
    for case, answer in zip(chats, found):
        print(f"> {case['question']}\n{tokenizer.decode(answer, skip_special_tokens=True)}\n")


if __name__ == "__main__":
    main()
