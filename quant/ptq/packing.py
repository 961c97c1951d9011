"""Codes of 1 to 8 bits as a dense stream of bytes, and back.

Code k of a weight has bits k * bits to (k + 1) * bits - 1 of the stream, its lowest first, and bit
i of the stream is bit i % 8 of byte i // 8. The last byte is filled up with zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

TOGETHER = 8  # codes that fill whole bytes, as many as they have bits


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` codes."""
    return -(-count * bits // 8)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes below 2^bits, uint8 of any shape, in their order: uint8 (packed_size,)."""
    flat = codes.flatten()
    groups = pad(flat, (0, -len(flat) % TOGETHER)).reshape(-1, TOGETHER).long()
    words = (groups << _shifts(bits)).sum(1, keepdim=True)  # no two codes share a bit
    return words.view(torch.uint8)[:, :bits].flatten()[: packed_size(len(flat), bits)].clone()


def unpack(stream: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes of a stream: uint8 (count,)."""
    groups = -(-count // TOGETHER)
    words = torch.zeros(groups, 8, dtype=torch.uint8)
    words[:, :bits] = pad(stream, (0, groups * bits - len(stream))).reshape(groups, bits)
    codes = (words.view(torch.int64) >> _shifts(bits)) & ((1 << bits) - 1)
    return codes.flatten()[:count].to(torch.uint8)


def _shifts(bits: int) -> Tensor:
    return torch.arange(TOGETHER) * bits
