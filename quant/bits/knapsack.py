"""The exact optimum under budgets: a multiple-choice knapsack over integer costs.

Every group takes one of its choices; values add up, costs add up, and the sum of the costs may not
pass a limit, for one budget or several. Lagrangian fixing removes every choice that provably is in
no better solution than one already known; what is left is a dynamic program over the undominated
(costs, value) states. Without bounds, and with one budget, the same program is the whole Pareto
front.

values   (groups, choices) float64
costs    (budgets, groups, choices) int64
allowed  (groups, choices) bool
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SLACK = 1e-12  # relative slack of bounds, so that rounding never removes an optimum
_STATES = 400_000  # beyond which the program gives up its proof
_PAIRWISE = 2_000  # up to which states of several budgets are compared pair by pair
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Frontier:
    """Undominated (cost, value) pairs, costs and values both rising strictly.

    costs   (n,) int64
    values  (n,) float64
    """

    costs: Ints
    values: Floats
    _stages: tuple[tuple[Ints, Ints], ...]

    def choices(self, point: int) -> tuple[int, ...]:
        """The choice of every group at one point of the front."""
        return _walk(self._stages, point)


@dataclass(frozen=True)
class Optimum:
    """The best choices found.

    bound   no choices have a greater value
    proven  whether nothing better exists
    """

    choices: tuple[int, ...]
    value: float
    bound: float
    proven: bool


def front(values: Floats, costs: Ints, allowed: Bools) -> Frontier:
    """Every undominated total of one choice per group, for one budget: costs (groups, choices)."""
    states = _States(np.zeros((1, 1), np.int64), np.zeros(1))
    stages = []
    for g in range(len(values)):
        options = np.flatnonzero(allowed[g])
        states, parents, choices = states.extend(values[g], costs[None, g], options)
        stages.append((parents, choices))
    return Frontier(states.costs[0], states.values, tuple(stages))


def solve(values: Floats, costs: Ints, allowed: Bools, limit: int) -> Optimum | None:
    """The greatest total value at a total cost of at most `limit`, for one budget, if any.

    costs (groups, choices). Equal values go to the lower cost.
    """
    if int(np.where(allowed, costs, _NEVER).min(axis=1).sum()) > limit:
        return None
    price, start = _relax(values, costs, allowed, limit)
    return prove(values, costs[None], allowed, (limit,), (price,), start)


def prove(
    values: Floats,
    costs: Ints,
    allowed: Bools,
    limits: tuple[int, ...],
    prices: tuple[float, ...],
    start: tuple[int, ...],
) -> Optimum:
    """The optimum, from a feasible `start` and any prices >= 0 of the budgets.

    Good prices and starts make it fast.
    """
    price, limit = np.array(prices), np.array(limits, np.int64)
    best = _total(values, start)
    reduced = np.where(allowed, values - np.tensordot(price, costs, 1), -np.inf)  # prices paid
    tops = reduced.max(axis=1)
    bound = float(tops.sum() + price @ limit)
    slack = _SLACK * (1.0 + float(np.abs(tops).sum() + price @ np.abs(limit)))
    kept = reduced >= (tops - (bound - best) - slack)[:, None]

    options = kept.sum(axis=1)
    order = np.argsort(options, kind="stable").tolist()
    settled = order[: int((options == 1).sum())]  # one choice is left: no states to compare
    only = kept[settled].argmax(axis=1)
    least = np.where(kept, costs, _NEVER).min(axis=2)  # (budgets, groups)
    unsettled = order[len(settled) :]
    rest_cost, rest_top = least[:, unsettled].sum(axis=1), float(tops[unsettled].sum())
    base = costs[:, settled, only].sum(axis=1)
    states = _States(base[:, None], values[settled, only].sum()[None])
    stages = [(np.zeros(1, np.int64), choice[None]) for choice in only]
    for g in unsettled:
        states, parents, choices = states.extend(values[g], costs[:, g], np.flatnonzero(kept[g]))
        rest_cost, rest_top = rest_cost - least[:, g], rest_top - float(tops[g])
        reach = states.values + rest_top + price @ (limit[:, None] - states.costs)
        fits = (states.costs + rest_cost[:, None] <= limit[:, None]).all(axis=0)
        alive = fits & (reach >= best - slack)
        states = _States(states.costs[:, alive], states.values[alive])
        stages.append((parents[alive], choices[alive]))
        if len(states.values) > _STATES:
            return Optimum(start, best, bound, False)
    if len(states.values):
        ordered = _walk(tuple(stages), int(states.values.argmax()))
        last = tuple(choice for _, choice in sorted(zip(order, ordered, strict=True)))
        if _total(values, last) >= best:
            start, best = last, _total(values, last)
    return Optimum(start, best, best, True)


def _total(values: Floats, choices: tuple[int, ...]) -> float:
    return fsum(values[group, choice] for group, choice in enumerate(choices))


@dataclass(frozen=True)
class _States:
    """Totals reached so far: costs (budgets, n), values (n,)."""

    costs: Ints
    values: Floats

    def extend(self, values: Floats, costs: Ints, options: Ints) -> tuple[_States, Ints, Ints]:
        """Every state with every option of one more group, without the dominated ones.

        Returns states, parents, choices.
        """
        new_costs = (self.costs[:, :, None] + costs[:, None, options]).reshape(len(costs), -1)
        new_values = (self.values[:, None] + values[options]).ravel()
        order = np.lexsort((-new_values, *new_costs[::-1]))
        order = order[_undominated(new_costs[:, order], new_values[order])]
        parents, option = np.divmod(order, len(options))
        return _States(new_costs[:, order], new_values[order]), parents, options[option]


def _undominated(costs: Ints, values: Floats) -> Bools:
    """Which states, sorted by cost and then by falling value, no earlier state makes pointless."""
    if len(costs) == 1:
        before = np.concatenate(([-np.inf], np.maximum.accumulate(values)[:-1]))
        return np.asarray(values > before)
    fresh = np.ones(len(values), bool)
    fresh[1:] = (costs[:, 1:] != costs[:, :-1]).any(axis=0)
    if len(values) <= _PAIRWISE:
        cheaper = (costs[:, :, None] <= costs[:, None, :]).all(axis=0) & (values[:, None] >= values)
        fresh &= ~np.triu(cheaper, 1).any(axis=0)
    return fresh


def _walk(stages: tuple[tuple[Ints, Ints], ...], point: int) -> tuple[int, ...]:
    """Back from a final state: every stage keeps each state's parent and choice."""
    taken = []
    for parents, choices in reversed(stages):
        taken.append(int(choices[point]))
        point = int(parents[point])
    return tuple(reversed(taken))


def _relax(
    values: Floats, costs: Ints, allowed: Bools, limit: int
) -> tuple[float, tuple[int, ...]]:
    """The linear relaxation's price of one unit of cost, and a feasible solution.

    The solution takes the relaxation's steps while they fit.
    """
    cheapest, steps = _hull(values, costs, allowed)
    taken = [choice for choice, _ in cheapest]
    left = limit - sum(cost for _, cost in cheapest)
    price, stopped = 0.0, set()
    for slope, g, choice, extra in sorted(steps, key=lambda step: -step[0]):
        if g in stopped or extra > left:
            price = price or slope  # the first step that does not fit sets the price
            stopped.add(g)
        else:
            taken[g], left = choice, left - extra
    return price, tuple(taken)


def _hull(
    values: Floats, costs: Ints, allowed: Bools
) -> tuple[list[tuple[int, int]], list[tuple[float, int, int, int]]]:
    """The upper hull of every group's (cost, value) points.

    Returns each group's cheapest choice with its cost, and steps to dearer choices: value per cost,
    group, choice, extra cost.
    """
    cheapest, steps = [], []
    for g, row in enumerate(zip(values.tolist(), costs.tolist(), allowed.tolist(), strict=True)):
        options = [
            (cost, value, choice)
            for choice, (value, cost, free) in enumerate(zip(*row, strict=True))
            if free
        ]
        here = min(options, key=lambda option: (option[0], -option[1]))
        cheapest.append((here[2], here[0]))
        while ahead := [
            option for option in options if option[0] > here[0] and option[1] > here[1]
        ]:
            slope, step = max(
                ((option[1] - here[1]) / (option[0] - here[0]), option) for option in ahead
            )
            steps.append((slope, g, step[2], step[0] - here[0]))
            here = step
    return cheapest, steps
