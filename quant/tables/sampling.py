"""Which configurations a table has: distinct ones, drawn uniformly, some of them held out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.exact import Bools, Ints

SEARCH_SHARE = 0.7  # of the rows, the first drawn, may be searched on; the others are held out


def draw(allowed: Bools, count: int, rng: np.random.Generator) -> Ints:
    """Distinct configurations (count, groups), as indices of the menu, uniform over all there are.

    allowed  (groups, choices): what each group may take
    Raises E407 where there are fewer than `count`.
    """
    options = [np.flatnonzero(row) for row in allowed]
    whole = math.prod(map(len, options))
    if count > whole:
        message = f"{count:,} rows are asked for, and there are {whole:,} configurations"
        raise error("E407", message, "ask for fewer rows")
    if whole <= 4 * count:
        every = np.array(np.meshgrid(*options, indexing="ij")).reshape(len(options), -1).T
        return every[rng.permutation(whole)[:count]].astype(np.int64)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(int(rng.choice(choices)) for choices in options)] = None
    return np.array(list(drawn), np.int64)


def in_search(rows: int) -> list[bool]:
    """For each row, in the order in which they were drawn, whether a search may see it."""
    return [row < round(SEARCH_SHARE * rows) for row in range(rows)]


def by_prefix(keys: Sequence[tuple[object, ...]]) -> list[int]:
    """Positions in an order in which neighbours share their beginnings."""
    return sorted(range(len(keys)), key=lambda position: tuple(map(str, keys[position])))


def cuts(keys: Sequence[tuple[object, ...]]) -> list[list[int]]:
    """For keys in such an order, the lengths of the beginnings that each shares with later ones."""
    shared = [_common(a, b) for a, b in pairwise(keys)]
    return [list(_falling(shared[place:])) for place in range(len(keys))]


def _falling(lengths: Sequence[int]) -> Iterator[int]:
    """The running minima, each once, down to 1."""
    least = None
    for length in lengths:
        if length == 0:
            return
        if least is None or length < least:
            least = length
            yield length


def _common(a: Sequence[object], b: Sequence[object]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
