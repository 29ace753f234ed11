"""How fast llama.cpp runs a model: one prompt, then greedy tokens, each timed.

usage: python llama_speed.py REQUEST.json

The request has `model` (a GGUF file), `prompt` (tokens), `generate` (tokens to make), `threads`,
`context`, and `batch` (most tokens evaluated together). One line of JSON goes to stdout: `engine`,
`load_seconds`, `prefill_seconds`, `token_seconds` (a number for each generated token after the
first) and `tokens`. The model is mapped (llama.cpp's default) and not repacked: repacking makes a
second copy of the weights in memory.
"""

import ctypes
import json
import sys
import time

import llama_cpp
import llama_cpp.llama_cpp as low
import numpy as np


def fail(what):
    sys.exit(f"llama.cpp could not {what}")


def load(request):
    params = low.llama_model_default_params()
    params.use_extra_bufts = False
    params.n_gpu_layers = 0
    model = low.llama_model_load_from_file(request["model"].encode(), params)
    if not model:
        fail("load the model")
    params = low.llama_context_default_params()
    params.n_ctx = request["context"]
    params.n_batch = request["batch"]
    params.n_ubatch = request["batch"]
    params.n_threads = request["threads"]
    params.n_threads_batch = request["threads"]
    context = low.llama_init_from_model(model, params)
    if not context:
        fail("make a context")
    return model, context


def evaluate(context, tokens):
    array = (low.llama_token * len(tokens))(*tokens)
    if low.llama_decode(context, low.llama_batch_get_one(array, len(tokens))) != 0:
        fail(f"evaluate {len(tokens)} tokens")


def greedy(context, vocabulary):
    logits = low.llama_get_logits_ith(context, -1)
    return int(np.argmax(np.ctypeslib.as_array(logits, shape=(vocabulary,))))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    silence = low.llama_log_callback(lambda level, text, data: None)
    low.llama_log_set(silence, ctypes.c_void_p(0))
    start = time.perf_counter()
    model, context = load(request)
    vocabulary = low.llama_vocab_n_tokens(low.llama_model_get_vocab(model))
    loaded = time.perf_counter()
    prompt = request["prompt"]
    for at in range(0, len(prompt), request["batch"]):
        evaluate(context, prompt[at : at + request["batch"]])
    tokens = [greedy(context, vocabulary)]
    prefilled = time.perf_counter()
    seconds = []
    while len(tokens) < request["generate"]:
        before = time.perf_counter()
        evaluate(context, tokens[-1:])
        tokens.append(greedy(context, vocabulary))
        seconds.append(time.perf_counter() - before)
    result = {
        "engine": f"llama-cpp-python {llama_cpp.__version__}",
        "load_seconds": loaded - start,
        "prefill_seconds": prefilled - loaded,
        "token_seconds": seconds,
        "tokens": tokens,
    }
    print(json.dumps(result))


main()
