"""The exact optimum under budgets: a multiple-choice knapsack over integer costs.

Every group takes one of its choices; values add up, costs add up, and the sum of the costs may not pass a limit, for
one budget or several. Lagrangian fixing removes every choice that provably is in no better solution than one already
known; what is left is a dynamic program over the undominated (costs, value) states. Without bounds, and with one
budget, the same program is the whole Pareto front.

Arrays: values (groups, choices) float64; costs (budgets, groups, choices) int64; allowed (groups, choices) bool.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SLACK = (
    1e-12  # bounds are compared with this relative slack, so that rounding never removes an optimum
)
_STATES = 400_000  # the program gives up its proof beyond this many states
_PAIRWISE = 2_000  # states of several budgets are compared pair by pair up to this many


@dataclass(frozen=True)
class Front:
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
    """The best choices found, their value, and an upper bound that no choices pass; `proven` if nothing better exists."""

    choices: tuple[int, ...]
    value: float
    bound: float
    proven: bool


def front(values: Floats, costs: Ints, allowed: Bools) -> Front:
    """Every undominated total of one choice a group, for one budget: costs (groups, choices)."""
    states = _States(np.zeros((1, 1), np.int64), np.zeros(1))
    stages = []
    for g in range(len(values)):
        states, parents, choices = states.extend(
            values[g], costs[None, g], np.flatnonzero(allowed[g])
        )
        stages.append((parents, choices))
    return Front(states.costs[0], states.values, tuple(stages))


def solve(values: Floats, costs: Ints, allowed: Bools, limit: int) -> Optimum | None:
    """The greatest total value at a total cost of at most `limit`, for one budget; None if there is no such choice.

    costs (groups, choices). Equal values go to the lower cost.
    """
    if int(np.where(allowed, costs, np.iinfo(np.int64).max).min(axis=1).sum()) > limit:
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
    """The optimum, from a feasible `start` and any prices >= 0 of the budgets; good prices and starts make it fast."""
    groups = range(len(values))
    price, limit = np.array(prices), np.array(limits, np.int64)
    best = fsum(values[g, start[g]] for g in groups)
    reduced = np.where(
        allowed, values - np.tensordot(price, costs, 1), -np.inf
    )  # the value left after paying the prices
    tops = reduced.max(axis=1)
    bound = float(tops.sum() + price @ limit)
    slack = _SLACK * (1.0 + float(np.abs(tops).sum() + price @ np.abs(limit)))
    kept = reduced >= (tops - (bound - best) - slack)[:, None]

    options = kept.sum(axis=1)
    order = np.argsort(options, kind="stable").tolist()
    settled = order[: int((options == 1).sum())]  # one choice is left: no states to compare
    only = kept[settled].argmax(axis=1)
    least = np.where(kept, costs, np.iinfo(np.int64).max).min(axis=2)  # (budgets, groups)
    open_groups = order[len(settled) :]
    rest_cost, rest_top = least[:, open_groups].sum(axis=1), float(tops[open_groups].sum())
    states = _States(
        costs[:, settled, only].sum(axis=1)[:, None], values[settled, only].sum()[None]
    )
    stages = [(np.zeros(1, np.int64), choice[None]) for choice in only]
    for g in open_groups:
        states, parents, choices = states.extend(values[g], costs[:, g], np.flatnonzero(kept[g]))
        rest_cost, rest_top = rest_cost - least[:, g], rest_top - float(tops[g])
        reach = states.values + rest_top + price @ (limit[:, None] - states.costs)
        alive = (states.costs + rest_cost[:, None] <= limit[:, None]).all(axis=0) & (
            reach >= best - slack
        )
        states = _States(states.costs[:, alive], states.values[alive])
        stages.append((parents[alive], choices[alive]))
        if len(states.values) > _STATES:
            return Optimum(start, best, bound, False)
    if len(states.values):
        ordered = _walk(tuple(stages), int(states.values.argmax()))
        found = tuple(choice for _, choice in sorted(zip(order, ordered, strict=True)))
        value = fsum(values[g, found[g]] for g in groups)
        if value >= best:
            start, best = found, value
    return Optimum(start, best, best, True)


@dataclass(frozen=True)
class _States:
    """Totals reached so far: costs (budgets, n), values (n,)."""

    costs: Ints
    values: Floats

    def extend(self, values: Floats, costs: Ints, options: Ints) -> tuple[_States, Ints, Ints]:
        """Every state with every option of one more group, without the dominated ones: states, parents, choices."""
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
    """The linear relaxation's price of one unit of cost, and a feasible solution: its steps, taken while they fit."""
    steps: list[
        tuple[float, int, int, int]
    ] = []  # value per cost, group, choice, extra cost: each group's upper hull
    taken, left = [], limit
    for g, row in enumerate(zip(values.tolist(), costs.tolist(), allowed.tolist(), strict=True)):
        options = [
            (cost, value, choice)
            for choice, (value, cost, free) in enumerate(zip(*row, strict=True))
            if free
        ]
        here = min(options, key=lambda option: (option[0], -option[1]))
        taken.append(here[2])
        left -= here[0]
        while ahead := [
            option for option in options if option[0] > here[0] and option[1] > here[1]
        ]:
            slope, step = max(
                ((option[1] - here[1]) / (option[0] - here[0]), option) for option in ahead
            )
            steps.append((slope, g, step[2], step[0] - here[0]))
            here = step
    steps.sort(key=lambda step: -step[0])
    price, stopped = 0.0, set()
    for slope, g, choice, extra in steps:
        if g in stopped or extra > left:
            price = price or slope  # the first step that does not fit sets the price
            stopped.add(g)
        else:
            taken[g], left = choice, left - extra
    return price, tuple(taken)
