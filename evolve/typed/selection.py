"""Who survives, and who has offspring: NSGA-II over fitness, size and cost.

Source: Deb et al., IEEE TEC 6(2), 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ParetoRank(NamedTuple):
    """An individual's front, from 0, and the distance between its neighbours on it."""

    front: int
    crowding: float


def pareto_ranks(objectives: Array) -> list[ParetoRank]:
    """Ranks of individuals by their objectives (individuals, objectives), all to be small."""
    ranks = [ParetoRank(0, 0.0)] * len(objectives)
    for number, members in enumerate(fronts_of(objectives)):
        for member, distance in zip(members, _crowding(objectives[members]), strict=True):
            ranks[member] = ParetoRank(number, distance)
    return ranks


def fronts_of(objectives: Array) -> list[list[int]]:
    """Individuals that nobody dominates; those that only they dominate; and so on."""
    no_worse: Bools = np.all(objectives[:, None] <= objectives[None], axis=-1)
    dominates: Bools = no_worse & np.any(objectives[:, None] < objectives[None], axis=-1)
    waiting = dominates.sum(0)
    fronts: list[list[int]] = []
    left = np.ones(len(objectives), bool)
    while left.any():
        front = np.flatnonzero(left & (waiting == 0))
        fronts.append(front.tolist())
        left[front] = False
        waiting = waiting - dominates[front].sum(0)
    return fronts


def _crowding(front: Array) -> list[float]:
    distance = np.zeros(len(front))
    for column in front.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0 and len(front) > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return [float(value) for value in distance]


def survivors(objectives: Array, size: int) -> list[int]:
    """The best `size` individuals, by front and then by crowding; of equals, the first."""
    return sorted(range(len(objectives)), key=_order(pareto_ranks(objectives)))[:size]


def tournament(ranks: Sequence[ParetoRank], size: int, random: Random) -> int:
    """The best of a few individuals drawn with replacement."""
    return min((random.randrange(len(ranks)) for _ in range(size)), key=_order(ranks))


def _order(ranks: Sequence[ParetoRank]) -> Callable[[int], tuple[int, float, int]]:
    """Sorts individuals by front, then by crowding; of equals, the first comes first."""
    return lambda i: (ranks[i].front, -ranks[i].crowding, i)
