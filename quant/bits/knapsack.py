"""The exact optimum under budgets: a multiple-choice knapsack over integers.

Every group takes one of its choices; values add up, costs add up, and the sum of the costs may not
pass a limit, for one budget or several. Lagrangian fixing removes every choice that provably is in
no better solution than one already known; what is left is a dynamic program over the undominated
(costs, value) states. Without bounds, and with one budget, the same program is the whole Pareto
front. Values are floats, hence multiples of one power of two: all sums are of integers, and exact.

values   (groups, choices) float64, or integers of any size
costs    (budgets, groups, choices) int64
allowed  (groups, choices) bool
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import isfinite
from typing import Final

import numpy as np

from emqlang.quant.bits.exact import (
    Bools,
    Floats,
    Ints,
    Numbers,
    approximate,
    at_most,
    limbs,
    narrow,
    ranks,
    real,
    whole,
)
from emqlang.quant.bits.relaxation import relax
from emqlang.quant.bits.states import States, walk

_SLACK: Final = 1e-12  # of the bounds on states, which are floats
_STATES: Final = 100_000  # beyond which the program gives up its proof
_FEW: Final = 2_000  # states to go on with where no solution is known
# What prices of several budgets are tried times, in 32nds: what is left of budgets is worth
# something else in every state.
_FACTORS: Final = {2: (32, 0, 20, 48, 80), 3: (32, 0, 64)}
_DIGITS: Final = 64  # bits of a price


@dataclass(frozen=True)
class Frontier:
    """Undominated (cost, value) pairs, costs and values both rising strictly."""

    costs: tuple[int, ...]
    values: tuple[float, ...]
    _stages: tuple[tuple[Ints, Ints], ...]

    def choices(self, point: int) -> tuple[int, ...]:
        """The choice of every group at one point of the front."""
        return walk(self._stages, point)


@dataclass(frozen=True)
class Optimum:
    """The best choices found.

    gap     how much more any choices may be worth
    proven  whether nothing better exists
    """

    choices: tuple[int, ...]
    value: float
    gap: float
    proven: bool


def front(values: Floats, costs: Ints, allowed: Bools, most: int | None = None) -> Frontier:
    """Every undominated total of one choice per group, for one budget: costs (groups, choices).

    It is empty where more than `most` states would have to be kept.
    """
    numbers, shift = whole(values, allowed)
    problem = _Problem.of(numbers, costs[None].astype(object), allowed)
    states, stages = problem.start(), []
    for g in range(len(values)):
        states, parents, choices = problem.extended(states, g)
        if most is not None and len(parents) > most:
            return Frontier((), (), ())
        stages.append((parents, choices))
    return Frontier(
        tuple(problem.least[0] + cost for cost in narrow(states.costs[0])),
        tuple(real(problem.floor + value, shift) for value in narrow(states.values)),
        tuple(stages),
    )


def solve(values: Floats | Numbers, costs: Ints, allowed: Bools, limit: int) -> Optimum | None:
    """The greatest total value at a total cost of at most `limit`, for one budget, if any.

    costs (groups, choices). Equal values go to the lower cost.
    """
    if sum(min(row[free].tolist()) for row, free in zip(costs, allowed, strict=True)) > limit:
        return None
    price, start = relax(values, costs, allowed, limit)
    return prove(values, costs[None], allowed, (limit,), (price,), start)


def prove(
    values: Floats | Numbers,
    costs: Ints,
    allowed: Bools,
    limits: Sequence[int],
    prices: Sequence[float],
    start: tuple[int, ...] | None,
) -> Optimum | None:
    """The optimum, from a feasible `start` and any prices >= 0 of the budgets; None if none fits.

    Good prices and starts make it fast. Without a start, what is found may not be proven to be all.
    """
    numbers, shift = whole(values, allowed)
    exact = costs.astype(object)
    problem = _tightened(numbers, exact, allowed, limits)
    if problem is None:
        return None
    worth, scale = _worth(prices, shift)
    best = None if start is None else _sum(numbers, start)
    surplus = 0
    if best is not None:
        kept, surplus = problem.fixed(worth, scale, best)
        problem = _tightened(numbers, exact, kept, limits)
        assert problem is not None  # the start is still in it
    found, complete = _search(problem, worth, scale, best)
    if found is None or (start is not None and not complete):
        if start is None or best is None:
            return None
        return Optimum(start, real(best, shift), real(surplus, shift + scale), surplus == 0)
    gap = 0.0 if complete else float("inf")
    return Optimum(found, real(_sum(numbers, found), shift), gap, complete)


def promising(
    values: Floats | Numbers,
    costs: Ints,
    allowed: Bools,
    limits: Sequence[int],
    prices: Sequence[float],
    start: tuple[int, ...],
) -> Bools:
    """The choices that may be in something better than a feasible `start`, or are its own."""
    numbers, shift = whole(values, allowed)
    problem = _tightened(numbers, costs.astype(object), allowed, limits)
    assert problem is not None
    kept, _ = problem.fixed(*_worth(prices, shift), _sum(numbers, start))
    return kept


def _worth(prices: Sequence[float], shift: int) -> tuple[list[int], int]:
    """Prices of units of cost, as multiples of 2 ** -(shift + scale), and that scale."""
    exact = [Fraction(price) * 2**shift if isfinite(price) else Fraction(0) for price in prices]
    sizes = [
        price.numerator.bit_length() - price.denominator.bit_length() for price in exact if price
    ]
    scale = max(0, _DIGITS - min(sizes, default=_DIGITS))
    return [int(price * 2**scale) for price in exact], scale


def _rows(worth: Sequence[int]) -> list[list[int]]:
    """Prices to bound with: as given, and of several budgets others around them."""
    factors = _FACTORS.get(len(worth), (32,))
    around = product(factors, repeat=len(worth))
    return [[p * f >> 5 for p, f in zip(worth, each, strict=True)] for each in around]


def _sum(numbers: Numbers, choices: Sequence[int]) -> int:
    return sum(int(row[choice]) for row, choice in zip(numbers, choices, strict=True))


@dataclass(frozen=True)
class _Problem:
    """What the choices that are left are worth and cost beyond the least of their groups.

    values  (groups, choices); costs (budgets, groups, choices), both 0 where nothing is kept
    floor   the sum of the least values
    least   for every budget, the sum of the least costs
    room    for every budget, what is left of its limit; enough for everything without one
    """

    kept: Bools
    values: Numbers
    costs: Numbers
    floor: int
    least: tuple[int, ...]
    room: tuple[int, ...]

    @classmethod
    def of(
        cls, numbers: Numbers, costs: Numbers, kept: Bools, limits: Sequence[int] | None = None
    ) -> _Problem:
        """Room is negative where even the least costs pass a limit."""
        floor, value = _above_least(numbers, kept)
        least, cost = _above_least(costs, kept)
        sums = tuple(int(total) for total in least.sum(axis=-1))
        most = [int(total) for total in cost.max(axis=-1).sum(axis=-1)]
        limits = (
            [total + more for total, more in zip(sums, most, strict=True)]
            if limits is None
            else limits
        )
        room = [min(a - b, c) for a, b, c in zip(limits, sums, most, strict=True)]
        return cls(kept, value, cost, int(floor.sum()), sums, tuple(room))

    def reduced(self, worth: Sequence[int], scale: int) -> Numbers:
        """Values less prices paid, in 2 ** -scale; minus infinity where nothing is kept."""
        paid = sum(price * cost for price, cost in zip(worth, self.costs, strict=True))
        return np.where(self.kept, self.values * (1 << scale) - paid, -np.inf)

    def fixed(self, worth: Sequence[int], scale: int, best: int) -> tuple[Bools, int]:
        """The choices with which a total of `best` may be reached, and how far the bound is off."""
        kept, least = self.kept, None
        for row in _rows(worth):
            reduced = self.reduced(row, scale)
            tops = reduced.max(axis=1)
            surplus = self.bound(tops, row) - (best - self.floor << scale)
            kept = kept & (reduced >= (tops - surplus)[:, None])
            least = surplus if least is None else min(least, surplus)
        assert least is not None
        return kept, least

    def bound(self, tops: Numbers, worth: Sequence[int]) -> int:
        """No choices of this problem are worth more, from the floor up."""
        spent = sum(price * room for price, room in zip(worth, self.room, strict=True))
        return int(tops.sum()) + spent

    def start(self) -> States:
        """No group has chosen yet."""
        largest = [int(cost.max(axis=-1).sum()) for cost in self.costs]
        costs = tuple(np.zeros((limbs(most), 1), np.int64) for most in largest)
        return States(costs, np.zeros((limbs(self.most), 1), np.int64))

    def extended(self, states: States, g: int) -> tuple[States, Ints, Ints]:
        """The undominated states with one more group: states, parents, choices."""
        options = np.flatnonzero(self.kept[g])
        states, parents, places = states.extend(self.costs[:, g, options], self.values[g, options])
        return states, parents, options[places]

    @property
    def most(self) -> int:
        return int(self.values.max(axis=-1).sum())


def _above_least(numbers: Numbers, kept: Bools) -> tuple[Numbers, Numbers]:
    """The least of every group, and by how much each choice is above it."""
    never = int(numbers.max()) + 1
    least = np.where(kept, numbers, never).min(axis=-1)
    return least, np.where(kept, numbers - least[..., None], 0)


def _tightened(
    numbers: Numbers, costs: Numbers, kept: Bools, limits: Sequence[int]
) -> _Problem | None:
    """The problem without choices too dear for any solution; None if there is no solution."""
    while kept.any(axis=1).all():
        problem = _Problem.of(numbers, costs, kept, limits)
        if min(problem.room) < 0:
            return None
        dear = (problem.costs > np.array(problem.room, object)[:, None, None]).any(axis=0)
        if not dear.any():
            return problem
        kept = kept & ~dear
    return None


def _search(
    problem: _Problem, worth: Sequence[int], scale: int, best: int | None
) -> tuple[tuple[int, ...] | None, bool]:
    """The best choices of a problem, if any fits, and whether no other is better for certain."""
    options = problem.kept.sum(axis=1)
    unsettled = [g for g in np.argsort(options, kind="stable").tolist() if options[g] > 1]
    reach = _Reach.of(problem, worth, scale, best)
    states, stages, complete = problem.start(), list[tuple[Ints, Ints]](), True
    for place, g in enumerate(unsettled):
        states, parents, choices = problem.extended(states, g)
        alive = reach.alive(states, unsettled[place + 1 :])
        if len(alive) > _STATES:
            if best is not None:
                return None, False
            alive, complete = alive[np.argsort(reach.spent(states)[alive])[:_FEW]], False
        states = states.at(alive)
        stages.append((parents[alive], choices[alive]))
    if not states.values.shape[1]:
        return None, complete
    taken = problem.kept.argmax(axis=1).tolist()
    last = walk(tuple(stages), int(ranks(states.values).argmax()))
    for g, choice in zip(unsettled, last, strict=True):
        taken[g] = choice
    return tuple(taken), complete


@dataclass(frozen=True)
class _Reach:
    """What states can still come to, in floats, of which the slack is a hundred roundings.

    Values are in units of the largest total, so that no float is too large. Every row of prices
    bounds them, and the least bound counts: what is left of the budgets is worth something else in
    every state.
    """

    room: tuple[int, ...]
    prices: Floats  # (rows, budgets)
    tops: Floats  # (rows, groups)
    size: int
    best: float

    @classmethod
    def of(cls, problem: _Problem, worth: Sequence[int], scale: int, best: int | None) -> _Reach:
        size = problem.most.bit_length()
        rows = _rows(worth)
        tops = [
            [real(int(t), scale + size) for t in problem.reduced(row, scale).max(axis=1)]
            for row in rows
        ]
        prices = [[real(price, scale + size) for price in row] for row in rows]
        goal = -np.inf if best is None else real(best - problem.floor, size)
        return cls(problem.room, np.array(prices), np.array(tops), size, goal)

    def alive(self, states: States, rest: Sequence[int]) -> Ints:
        """Which states are within the limits and may still become as good as the best known."""
        fits = np.all([at_most(c, r) for c, r in zip(states.costs, self.room, strict=True)], axis=0)
        left = np.flatnonzero(fits)
        if self.best == -np.inf:
            return left
        costs = np.stack([approximate(cost, 0) for cost in states.costs])[:, left]
        values = approximate(states.values, self.size)[left]
        for prices, tops in zip(self.prices, self.tops, strict=True):
            more = float(tops[list(rest)].sum())
            free = float(sum(p * float(room) for p, room in zip(prices, self.room, strict=True)))
            slack = _SLACK * (1.0 + abs(self.best) + float(np.abs(tops).sum()) + free)
            reach = values - prices @ costs + (more + free)
            alive = ~(reach < self.best - slack)  # not a number is alive
            left, costs, values = left[alive], costs[:, alive], values[alive]
        return left

    def spent(self, states: States) -> Floats:
        """How much of the limits is used, in all."""
        pairs = zip(states.costs, self.room, strict=True)
        used = [approximate(cost, 0) / max(room, 1) for cost, room in pairs]
        return np.asarray(np.sum(used, axis=0))
