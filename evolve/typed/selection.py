"""Who survives, and who has offspring: NSGA-II over fitness, size and cost. Source: Deb et al., IEEE TEC 6(2), 2002."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Standing(NamedTuple):
    """An individual's front, from 0, and how far apart its neighbours on it are."""

    front: int
    crowding: float


def standings(objectives: Array) -> list[Standing]:
    """Of individuals by their objectives (individuals, objectives), each of which is to be small."""
    fronts = fronts_of(objectives)
    found = [Standing(0, 0.0)] * len(objectives)
    for number, members in enumerate(fronts):
        for member, distance in zip(members, _crowding(objectives[members]), strict=True):
            found[member] = Standing(number, distance)
    return found


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
    ranked = standings(objectives)
    order = sorted(range(len(ranked)), key=lambda i: (ranked[i].front, -ranked[i].crowding, i))
    return order[:size]


def tournament(ranked: Sequence[Standing], size: int, random: Random) -> int:
    """The best of a few individuals drawn with replacement."""
    drawn = [random.randrange(len(ranked)) for _ in range(size)]
    return min(drawn, key=lambda i: (ranked[i].front, -ranked[i].crowding, i))
