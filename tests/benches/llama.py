"""What llama.cpp computes for a model: teacher-forced scores and greedy continuations.

usage: python llama.py REQUEST.json RESULT.json

The request has `model` (a GGUF file), `windows` and `prompts` (lists of token lists) and
`generate` (most tokens of a continuation). The result has `engine`, for each window `nll` (of
tokens 1..) and `top1` (after each token), and for each prompt its continuation; an end token is
the continuation's last. One thread; the KV cache is llama.cpp's default, f16.
"""

import json
import sys

import llama_cpp
import llama_cpp.llama_cpp as low
import numpy as np


def without_repacking():
    """The plain CPU buffers: repacked ones (AMX) crash on some virtual machines."""
    defaults = low.llama_model_default_params

    def patched():
        params = defaults()
        params.use_extra_bufts = False
        return params

    low.llama_model_default_params = patched


def score(llm, tokens):
    llm.reset()
    llm.eval(tokens)
    logits = np.array(llm.scores[: len(tokens)], dtype=np.float64)
    peak = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(1)) + peak[:, 0]
    nll = total[:-1] - logits[np.arange(len(tokens) - 1), tokens[1:]]
    return {"nll": nll.tolist(), "top1": logits.argmax(1).tolist()}


def continuation(llm, tokens, most):
    llm.reset()
    llm.eval(tokens)
    made = []
    while True:
        made.append(int(np.argmax(llm.scores[llm.n_tokens - 1])))
        if made[-1] == llm.token_eos() or len(made) == most:
            return made
        llm.eval(made[-1:])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    without_repacking()
    longest = max(len(tokens) for tokens in request["windows"] + request["prompts"])
    llm = llama_cpp.Llama(
        request["model"],
        n_ctx=longest + request["generate"],
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        verbose=False,
    )
    result = {
        "engine": f"llama-cpp-python {llama_cpp.__version__}",
        "windows": [score(llm, tokens) for tokens in request["windows"]],
        "continuations": [
            continuation(llm, tokens, request["generate"]) for tokens in request["prompts"]
        ],
    }
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(result, file)


main()
