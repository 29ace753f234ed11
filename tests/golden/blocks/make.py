"""Makes the golden files of the block formats: NAME.bin holds blocks, NAME.f32 their elements;
quantize.f32 holds values and NAME.quantized the blocks that they become.

Run with the PyPI package gguf 0.19.0: python3 tests/golden/blocks/make.py
Blocks are random bytes, except that binary16 fields get finite random values. The package's
dequantizers work in f32 with numpy, in the order of ggml's reference functions.
"""

import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

# Name, elements per block, bytes per block, byte offsets of binary16 fields, blocks.
FORMATS = [
    (T.Q4_0, 32, 18, [0], 6),
    (T.Q4_1, 32, 20, [0, 2], 6),
    (T.Q5_0, 32, 22, [0], 6),
    (T.Q5_1, 32, 24, [0, 2], 6),
    (T.Q8_0, 32, 34, [0], 6),
    (T.Q4_K, 256, 144, [0, 2], 3),
    (T.Q5_K, 256, 176, [0, 2], 3),
    (T.Q6_K, 256, 210, [208], 3),
    (T.BF16, 1, 2, [], 32),
]


# Formats that are written too.
WRITTEN = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.BF16]


def quantized(here):
    """Ordinary values of several sizes, zeros, ties, one large value among small ones."""
    rng = np.random.default_rng(21)
    values = rng.normal(0, 1, (12, 32)) * np.logspace(-4, 2, 12)[:, None]
    values[0] = 0
    values[1] = np.arange(-16, 16) / 8
    values[2] = 1
    values[3, :16] = -values[3, 16:]
    values[4, 7] = -500
    values = values.astype(np.float32)
    (here / "quantize.f32").write_bytes(values.tobytes())
    for ty in WRITTEN:
        (here / f"{ty.name.lower()}.quantized").write_bytes(quants.quantize(values, ty).tobytes())


def main():
    here = pathlib.Path(__file__).parent
    rng = np.random.default_rng(20)
    for ty, elements, size, halves, count in FORMATS:
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        if ty == T.BF16:
            blocks[:, 1] &= 0xBF  # keeps the exponent below that of infinity
        for at in halves:
            values = rng.normal(0, 0.05, count).astype(np.float16)
            values[0] = np.float16(-3e-6)  # a subnormal
            blocks[:, at : at + 2] = values.view(np.uint8).reshape(count, 2)
        out = quants.dequantize(blocks, ty).astype(np.float32).reshape(-1)
        assert out.size == count * elements and np.isfinite(out).all()
        (here / f"{ty.name.lower()}.bin").write_bytes(blocks.tobytes())
        (here / f"{ty.name.lower()}.f32").write_bytes(out.tobytes())
    quantized(here)


if __name__ == "__main__":
    main()
