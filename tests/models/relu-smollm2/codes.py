"""The delta's code: 3 bits a weight and a half-precision scale for 64 weights.

A block stands for `scale * LEVELS[code] / 16`. The levels are those that lose least for normally
distributed values, rounded to sixteenths; training sees the rounded delta, so what is lost is known.
"""

import numpy as np
import torch

BLOCK = 64
LEVELS = (-34, -22, -12, -4, 4, 12, 22, 34)


def _blocks(delta: torch.Tensor) -> torch.Tensor:
    return delta.reshape(*delta.shape[:-1], -1, BLOCK)


def encode(delta: torch.Tensor):
    """Codes (uint8) and scales (f16) of the blocks of `delta`, rows along the last axis."""
    x = _blocks(delta.float())
    scale = x.square().mean(-1, keepdim=True).sqrt()
    code = _nearest(x, scale)
    level = _value(code)
    scale = ((x * level).sum(-1, keepdim=True) / level.square().sum(-1, keepdim=True)).half()
    return _nearest(x, scale.float()).to(torch.uint8), scale.squeeze(-1)


def _nearest(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Index of the nearest level, by counting the borders below."""
    unit = x / scale.clamp_min(1e-12) * 16
    code = torch.zeros_like(unit)
    for low, high in zip(LEVELS, LEVELS[1:]):
        code = code + (unit > (low + high) / 2)
    return code


def _value(code: torch.Tensor) -> torch.Tensor:
    level = torch.zeros_like(code)
    for index, value in enumerate(LEVELS):
        level = level + (code == index) * (value / 16)
    return level


def decode(code: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (_value(code.float()) * scale.float().unsqueeze(-1)).flatten(-2)


def rounded(delta: torch.Tensor) -> torch.Tensor:
    """`delta` as the file will hold it."""
    return decode(*encode(delta))


def q8_0(weight: torch.Tensor) -> torch.Tensor:
    """`weight` through GGUF's Q8_0: per 32 values a half-precision scale."""
    blocks = weight.float().reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    # Half away from zero, as C's roundf.
    unit = blocks * inverse
    levels = torch.sign(unit) * torch.floor(unit.abs() + 0.5)
    return (levels * scale.half().float()).reshape(weight.shape)


def pack(code: torch.Tensor) -> np.ndarray:
    """3 bits a code, lowest bit first: 8 codes in 3 bytes."""
    bits = np.unpackbits(code.cpu().numpy().reshape(-1, 1), axis=1, bitorder="little")[:, :3]
    return np.packbits(bits.reshape(-1), bitorder="little")


def unpack(data: bytes, shape) -> torch.Tensor:
    """The codes that `pack` wrote, [*shape]."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(-1, 3)
    return torch.from_numpy((bits @ np.array([1, 2, 4], np.uint8)).reshape(shape))


def read(path, shape) -> torch.Tensor:
    """The delta [*shape] of a file that holds codes, then scales."""
    data = path.read_bytes()
    blocks = (*shape[:-1], shape[-1] // BLOCK)
    cut = int(np.prod(shape)) * 3 // 8
    code = unpack(data[:cut], (*blocks, BLOCK))
    scale = np.frombuffer(data[cut:], "<f2").reshape(blocks)
    return decode(code, torch.from_numpy(scale.copy()))
