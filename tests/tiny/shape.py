"""The one place that says how large the model is. Every matrix has K a multiple of 32 (the
quantization block) and N a multiple of 16 (the narrowest tile of the accelerator)."""

VOCABULARY = 1024
CONTEXT = 512
LAYERS = 6
WIDTH = 128
HEADS = 4
KV_HEADS = 2
HEAD = 32
FFN = 384
ROPE_BASE = 10000.0
NORM_EPS = 1e-5

# Parts chapters; serves as BOS and as EOS.
BOUNDARY = "<|endoftext|>"
BOUNDARY_ID = 0
