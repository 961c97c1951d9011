"""The best bits: from scores and budgets to one choice for every group.

One budget is solved exactly by `knapsack.solve`. Several start from `scipy.optimize.milp`, whose
answer is checked in integers, improved by swaps, and then proven, or not, by the same dynamic
program. What one budget leaves unproven is improved by swaps too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools, Floats, Ints, Numbers, added
from emqlang.quant.bits.knapsack import Optimum, front, promising, prove, solve

NAMED: Final = 5  # groups that a message names
_SAFE: Final = 2**60  # sums of costs below it are made in int64
_DRAWN: Final = 10**6  # configurations that are drawn at once
CLOSE: Final = 1e-3  # a relative gap at which a start for a search is near enough
TIME_LIMIT: Final = 20.0  # seconds of HiGHS, which ends long before on 500 groups of 10 choices


@dataclass(frozen=True)
class Assignment:
    """One choice for every group.

    choices  index into the menu, per group
    score    sum of the groups' scores, or what a score that is no sum gives
    status   `optimal` only if proven, else `feasible`; `best found` by a search, and `given`
    gap      how much better an assignment could still be; 0 if optimal, infinite if unknown
    seconds  time to solve
    """

    choices: tuple[int, ...]
    score: float
    status: str
    gap: float
    seconds: float


@dataclass(frozen=True)
class Shortfall:
    """Why a budget cannot be met.

    alone  the least it can be
    held   the least it can be with the other budgets held; None if they cannot be
    """

    budget: Budget
    alone: int
    held: int | None

    @property
    def sentence(self) -> str:
        budget, name = self.budget, self.budget.quantity.name
        least, limit = budget.show(self.alone), budget.show(budget.limit)
        if self.alone > budget.limit:
            return f"{name} is {least} at least, {limit} are allowed"
        others = (
            "cannot be met at all"
            if self.held is None
            else f"leave {budget.show(self.held)} at least"
        )
        return f"{name} could be {least} alone, but the other budgets {others}"


def assign(scores: Floats, budgets: Sequence[Budget], allowed: Bools) -> Assignment | None:
    """The choices with the greatest total score within every budget; None if there are none.

    scores (groups, choices); allowed (groups, choices), False where a choice is fixed away.
    """
    began = time.perf_counter()
    optimum = _optimum(scores, budgets, allowed)
    if optimum is None:
        return None
    status = "optimal" if optimum.proven else "feasible"
    seconds = time.perf_counter() - began
    return Assignment(optimum.choices, optimum.value, status, optimum.gap, seconds)


def total(scores: Floats | Numbers, choices: Sequence[int]) -> float:
    """The sum of the groups' scores, exactly added up."""
    return added(scores[np.arange(len(scores)), list(choices)])


def pareto(
    scores: Floats, budget: Budget, allowed: Bools, most: int | None = None
) -> list[tuple[int, Assignment]]:
    """Every undominated (cost, assignment) of one budget, whatever its limit, cheapest first.

    None of them where more than `most` states would have to be kept.
    """
    began = time.perf_counter()
    points = front(scores, budget.costs, allowed, most)
    seconds = time.perf_counter() - began
    return [
        (
            budget.base + cost,
            Assignment(points.choices(i), value, "optimal", 0.0, seconds),
        )
        for i, (cost, value) in enumerate(zip(points.costs, points.values, strict=True))
    ]


def sample(
    scores: Floats,
    budgets: Sequence[Budget],
    allowed: Bools,
    samples: int,
    rng: np.random.Generator,
) -> Assignment | None:
    """The best of `samples` random configurations within budget: the paper's section 4.1."""
    began, groups = time.perf_counter(), np.arange(len(scores))
    best: tuple[int, ...] | None = None
    for rows in drawn(budgets, allowed, samples, rng):
        place = int(scores[groups, rows].sum(axis=1).argmax())
        choices = tuple(int(choice) for choice in rows[place])
        if best is None or total(scores, choices) > total(scores, best):
            best = choices
    if best is None:
        return None
    seconds = time.perf_counter() - began
    return Assignment(best, total(scores, best), "feasible", float("inf"), seconds)


def drawn(
    budgets: Sequence[Budget], allowed: Bools, samples: int, rng: np.random.Generator
) -> Iterator[Ints]:
    """Random configurations, in parts (n, groups): those of `samples` that are within budget."""
    groups = np.arange(len(allowed))
    for first in range(0, samples, _DRAWN):
        count = min(_DRAWN, samples - first)
        columns = [rng.choice(np.flatnonzero(row), count) for row in allowed]
        rows = np.stack(columns, axis=1)
        for budget in budgets:
            spent = whole_costs(budget.costs)[groups, rows].sum(axis=1)
            rows = rows[np.asarray(spent <= budget.limit - budget.base, bool)]
        if len(rows):
            yield rows


def shortfalls(budgets: Sequence[Budget], allowed: Bools) -> list[Shortfall]:
    """For every budget, the least that can be reached alone and with the others held."""
    result = []
    for i, budget in enumerate(budgets):
        exact = budget.costs.astype(object)
        alone = budget.base + int(np.where(allowed, exact, exact.max()).min(axis=1).sum())
        held: int | None = alone
        if others := [*budgets[:i], *budgets[i + 1 :]]:
            optimum = _optimum(-exact, others, allowed)
            held = None if optimum is None else budget.cost(optimum.choices)
        result.append(Shortfall(budget, alone, held))
    return result


def taken(budgets: Sequence[Budget], allowed: Bools, groups: Mapping[int, str]) -> str:
    """What these groups, by name, take of the budgets at least; '' if no budget counts them."""
    least = [sum(int(b.costs[g][allowed[g]].min()) for g in groups) for b in budgets]
    pairs = zip(budgets, least, strict=True)
    amounts = [f"{budget.show(cost)} of {budget.quantity.name}" for budget, cost in pairs if cost]
    names = list(groups.values())
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{' and '.join(amounts)} for {', '.join(names[:NAMED])}{more}" if amounts else ""


def _optimum(scores: Floats | Numbers, budgets: Sequence[Budget], allowed: Bools) -> Optimum | None:
    if not budgets:
        choices = tuple(int(c) for c in np.where(allowed, scores, -np.inf).argmax(axis=1))
        return Optimum(choices, total(scores, choices), 0.0, True)
    (costs, limits), floats = _stacked(budgets), _scaled(scores, allowed)
    if len(budgets) == 1:
        optimum = solve(scores, costs[0], allowed, limits[0])
        if optimum is None or optimum.proven:
            return optimum
        start: tuple[int, ...] | None = optimum.choices
    else:
        start = _milp(floats, costs, allowed, limits)
    prices = _prices(floats, costs, allowed, limits)
    if start is not None:
        start = _nearer(scores, costs, allowed, limits, prices, start)
    return prove(scores, costs, allowed, limits, prices, start)


def _nearer(
    scores: Floats | Numbers,
    costs: Ints,
    allowed: Bools,
    limits: tuple[int, ...],
    prices: tuple[float, ...],
    start: tuple[int, ...],
) -> tuple[int, ...]:
    """Better choices than a start, from among those that the prices do not rule out.

    The fewer these are, the nearer to each other are their scores, and the finer is what HiGHS,
    whose tolerance is absolute, tells apart.
    """
    while True:
        kept = promising(scores, costs, allowed, limits, prices, start)
        floats = _scaled(scores, kept)
        found = start
        if len(limits) > 1:
            found = _milp(floats, costs, kept, limits) or start
        found = max(start, found, key=lambda choices: total(scores, choices))
        found = _polish(floats, whole_costs(costs), kept, limits, found)
        if not total(scores, found) > total(scores, start):
            return start
        start = found


def nearly(scores: Floats, budgets: Sequence[Budget], allowed: Bools) -> tuple[int, ...] | None:
    """The best choices or close to them, without the proof; None if nothing is within budget."""
    if len(budgets) > 1:
        (costs, limits), floats = _stacked(budgets), _scaled(scores, allowed)
        start = _milp(floats, costs, allowed, limits, CLOSE)
        if start is not None:
            return _polish(floats, whole_costs(costs), allowed, limits, start)
    optimum = _optimum(scores, budgets, allowed)
    return None if optimum is None else optimum.choices


def _stacked(budgets: Sequence[Budget]) -> tuple[Ints, tuple[int, ...]]:
    """Costs (budgets, groups, choices), and what these may cost together."""
    costs = np.stack([budget.costs for budget in budgets])
    dearest = costs.max(axis=2).astype(object).sum(axis=1)  # a limit beyond that is none
    limits = (min(b.limit - b.base, int(d)) for b, d in zip(budgets, dearest, strict=True))
    return costs, tuple(limits)


def whole_costs(costs: Ints) -> Ints | Numbers:
    """Costs whose sums, over any choices, are exact: Python's integers where int64 is too small."""
    small = int(np.abs(costs.astype(np.float64)).max()) * costs.shape[-2] < _SAFE
    return costs if small else costs.astype(object)


def _scaled(scores: Floats | Numbers, allowed: Bools) -> Floats:
    """Scores as floats, over a power of two if differences could pass the largest float."""
    floats = np.where(allowed, scores, 0).astype(np.float64)
    return floats if np.abs(floats).max() < 1e300 else np.ldexp(floats, -100)


def _milp(
    scores: Floats, costs: Ints, allowed: Bools, limits: tuple[int, ...], gap: float = 0.0
) -> tuple[int, ...] | None:
    """A feasible choice from HiGHS, scaled so that its tolerances are far below one unit.

    gap  relative to the best total, at which it may stop
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    groups, choices = scores.shape
    shifted = scores - np.where(allowed, scores, np.inf).min(axis=1)[:, None]
    scale = float(np.where(allowed, shifted, 0.0).max()) or 1.0
    pick = np.kron(np.eye(groups), np.ones(choices))
    least = np.where(allowed, costs, np.iinfo(np.int64).max).min(axis=2)  # (budgets, groups)
    room = np.array(limits, object) - least.astype(object).sum(axis=1)
    if min(room) < 0:
        return None
    room = room.astype(np.float64)
    rows = (costs - least[:, :, None]).reshape(len(limits), -1) / np.maximum(room, 1)[:, None]
    # HiGHS may overstep by its tolerance: then ask again for a little less
    for margin in (0.0, 1e-9, 1e-6):
        with _quiet():
            result = milp(
                -np.where(allowed, shifted, 0.0).ravel() / scale,
                constraints=[
                    LinearConstraint(pick, 1, 1),
                    LinearConstraint(rows, -np.inf, np.where(room > 0, 1 - margin, 0.0)),
                ],
                integrality=np.ones(groups * choices),
                bounds=Bounds(0, allowed.ravel().astype(np.float64)),
                options={"mip_rel_gap": gap, "time_limit": TIME_LIMIT},
            )
        if result.x is None:
            return None
        picked = tuple(int(c) for c in result.x.reshape(groups, choices).argmax(axis=1))
        if _fits(costs, picked, limits):
            return picked
    return None


def _prices(
    scores: Floats, costs: Ints, allowed: Bools, limits: tuple[int, ...]
) -> tuple[float, ...]:
    """What one unit of each budget is worth: the dual values of the linear relaxation."""
    from scipy.optimize import linprog

    groups, choices = scores.shape
    room = np.maximum(np.array(limits, np.float64), 1.0)
    scale = float(np.abs(np.where(allowed, scores, 0.0)).max()) or 1.0
    with _quiet():
        result = linprog(
            -np.where(allowed, scores, 0.0).ravel() / scale,
            A_ub=costs.reshape(len(limits), -1) / room[:, None],
            b_ub=np.array(limits, np.float64) / room,
            A_eq=np.kron(np.eye(groups), np.ones(choices)),
            b_eq=np.ones(groups),
            bounds=[(0.0, float(a)) for a in allowed.ravel()],
        )
    duals = result.ineqlin.marginals if result.success else np.zeros(len(limits))
    return tuple(float(max(0.0, -dual * scale / r)) for dual, r in zip(duals, room, strict=True))


def _polish(
    scores: Floats,
    costs: Ints | Numbers,
    allowed: Bools,
    limits: tuple[int, ...],
    start: tuple[int, ...],
) -> tuple[int, ...]:
    """Better by changing one group or two, while that can be done within the limits."""
    groups = np.arange(len(scores))
    taken = np.array(start)
    options = [(g, c) for g in groups for c in np.flatnonzero(allowed[g])]
    at_group, at_choice = np.array([g for g, _ in options]), np.array([c for _, c in options])
    while True:
        gain = scores[at_group, at_choice] - scores[at_group, taken[at_group]]
        extra = costs[:, at_group, at_choice] - costs[:, at_group, taken[at_group]]
        left = np.array(limits, costs.dtype) - costs[:, groups, taken].sum(axis=1)
        # Changing a group to what it has costs and gains nothing: single swaps are pairs too.
        pair_gain = gain[:, None] + gain
        fits = ((extra[:, :, None] + extra[:, None, :]) <= left[:, None, None]).all(axis=0)
        fits &= at_group[:, None] != at_group
        pair_gain[~fits] = -np.inf
        i, j = np.unravel_index(pair_gain.argmax(), pair_gain.shape)
        if not pair_gain[i, j] > 1e-12 * (1.0 + np.abs(scores).max()):
            return tuple(int(c) for c in taken)
        taken[at_group[[i, j]]] = at_choice[[i, j]]


def _fits(costs: Ints, choices: tuple[int, ...], limits: tuple[int, ...]) -> bool:
    spent = whole_costs(costs)[:, np.arange(len(choices)), choices].sum(axis=1)
    return all(cost <= limit for cost, limit in zip(spent.tolist(), limits, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the C library prints to standard output: HiGHS leaves a stray line there."""
    sys.stdout.flush()
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)
