"""Random generators that depend on a seed and a purpose alone, so that what else is drawn changes nothing."""

from __future__ import annotations

from hashlib import blake2b

import torch


def generator(purpose: str, seed: int) -> torch.Generator:
    """A generator on the CPU."""
    digest = blake2b(f"{purpose} {seed}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))
