"""Same seed, same numbers: generators by seed and purpose, and one thread for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def generator(purpose: str, seed: int) -> torch.Generator:
    """A generator on the CPU, so that what else is drawn changes nothing."""
    digest = blake2b(f"{purpose} {seed}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """For thousands of small operations: several threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
