"""Same seed, same numbers: generators by seed and purpose, and one thread for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
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


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """While it lasts, what is drawn from the generators that torch, numpy and Python share.

    They begin at the seed, of 32 bits, and are left as they were.
    """
    shared = [torch.default_generator]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        shared += torch.cuda.default_generators
    states = [each.get_state() for each in shared]
    before = np.random.get_state(), random.getstate()
    for each in shared:
        each.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        for each, state in zip(shared, states, strict=True):
            each.set_state(state)
        np.random.set_state(before[0])
        random.setstate(before[1])
