"""The one place that says how large the model is. Every row is a multiple of 32, the quantization block."""

VOCABULARY = 4096
CONTEXT = 512
LAYERS = 6
WIDTH = 512
HEADS = 8
KV_HEADS = 2
HEAD = 64
FFN = 2816
ROPE_BASE = 10000.0
NORM_EPS = 1e-5

# Parts texts; serves as BOS and as EOS.
BOUNDARY = "<|endoftext|>"
BOUNDARY_ID = 0
