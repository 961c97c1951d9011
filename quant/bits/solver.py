"""The best bits: from scores and budgets to one choice for every group.

One budget is solved exactly by `knapsack.solve`. Several start from `scipy.optimize.milp`, whose
answer is checked in integers, improved by swaps, and then proven, or not, by the same dynamic
program.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import fsum

import numpy as np

from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.knapsack import Bools, Floats, Ints, Optimum, front, prove, solve


@dataclass(frozen=True)
class Assignment:
    """One choice for every group.

    choices  index into the menu, per group
    score    sum of the groups' scores
    status   `optimal` only if proven, else `feasible`
    gap      how much better an assignment could still be; 0 if optimal
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


def assign(scores: Floats, budgets: Sequence[Budget], allowed: Bools) -> Assignment | None:
    """The choices with the greatest total score within every budget; None if there are none.

    scores (groups, choices); allowed (groups, choices), False where a choice is fixed away.
    """
    began = time.perf_counter()
    optimum = _optimum(scores, budgets, allowed)
    if optimum is None:
        return None
    status = "optimal" if optimum.proven else "feasible"
    gap, seconds = optimum.bound - optimum.value, time.perf_counter() - began
    return Assignment(optimum.choices, optimum.value, status, gap, seconds)


def pareto(scores: Floats, budget: Budget, allowed: Bools) -> list[tuple[int, Assignment]]:
    """Every undominated (cost, assignment) of one budget, whatever its limit, cheapest first."""
    began = time.perf_counter()
    points = front(scores, budget.costs, allowed)
    seconds = time.perf_counter() - began
    return [
        (
            budget.base + int(points.costs[i]),
            Assignment(points.choices(i), float(points.values[i]), "optimal", 0.0, seconds),
        )
        for i in range(len(points.costs))
    ]


def sample(
    scores: Floats,
    budgets: Sequence[Budget],
    allowed: Bools,
    samples: int,
    rng: np.random.Generator,
) -> Assignment | None:
    """The best of `samples` random configurations within budget: the paper's section 4.1."""
    began = time.perf_counter()
    columns = [rng.choice(np.flatnonzero(row), samples) for row in allowed]
    drawn = np.stack(columns, axis=1)  # (samples, groups)
    groups = np.arange(len(scores))
    within = np.ones(samples, bool)
    for budget in budgets:
        within &= budget.costs[groups, drawn].sum(axis=1) <= budget.limit - budget.base
    if not within.any():
        return None
    feasible = drawn[within]
    best = feasible[scores[groups, feasible].sum(axis=1).argmax()]
    choices = tuple(int(c) for c in best)
    score = fsum(scores[groups, choices])
    return Assignment(choices, score, "feasible", float("inf"), time.perf_counter() - began)


def shortfalls(budgets: Sequence[Budget], allowed: Bools) -> list[Shortfall]:
    """For every budget, the least that can be reached alone and with the others held."""
    result = []
    for i, budget in enumerate(budgets):
        least = np.where(allowed, budget.costs, np.iinfo(np.int64).max).min(axis=1).sum()
        alone = budget.base + int(least)
        held: int | None = alone
        if others := [*budgets[:i], *budgets[i + 1 :]]:
            optimum = _optimum(-budget.costs.astype(np.float64), others, allowed)
            held = None if optimum is None else budget.cost(optimum.choices)
        result.append(Shortfall(budget, alone, held))
    return result


def _optimum(scores: Floats, budgets: Sequence[Budget], allowed: Bools) -> Optimum | None:
    if not budgets:
        choices = tuple(int(c) for c in np.where(allowed, scores, -np.inf).argmax(axis=1))
        value = fsum(scores[np.arange(len(scores)), choices])
        return Optimum(choices, value, value, True)
    if len(budgets) == 1:
        return solve(scores, budgets[0].costs, allowed, budgets[0].limit - budgets[0].base)
    costs = np.stack([budget.costs for budget in budgets])
    limits = tuple(budget.limit - budget.base for budget in budgets)
    start = _milp(scores, costs, allowed, limits)
    if start is None:
        return None
    start = _polish(scores, costs, allowed, limits, start)
    return prove(scores, costs, allowed, limits, _prices(scores, costs, allowed, limits), start)


def _milp(
    scores: Floats, costs: Ints, allowed: Bools, limits: tuple[int, ...]
) -> tuple[int, ...] | None:
    """A feasible choice from HiGHS, scaled so that its tolerances are far below one unit."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    groups, choices = scores.shape
    shifted = scores - np.where(allowed, scores, np.inf).min(axis=1)[:, None]
    scale = float(np.where(allowed, shifted, 0.0).max()) or 1.0
    pick = np.kron(np.eye(groups), np.ones(choices))
    least = np.where(allowed, costs, np.iinfo(np.int64).max).min(axis=2)  # (budgets, groups)
    room = np.array(limits) - least.sum(axis=1)
    if (room < 0).any():
        return None
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
                options={"mip_rel_gap": 0.0, "time_limit": 60.0},
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
            b_ub=np.array(limits) / room,
            A_eq=np.kron(np.eye(groups), np.ones(choices)),
            b_eq=np.ones(groups),
            bounds=[(0.0, float(a)) for a in allowed.ravel()],
        )
    duals = result.ineqlin.marginals if result.success else np.zeros(len(limits))
    return tuple(float(max(0.0, -dual * scale / r)) for dual, r in zip(duals, room, strict=True))


def _polish(
    scores: Floats, costs: Ints, allowed: Bools, limits: tuple[int, ...], start: tuple[int, ...]
) -> tuple[int, ...]:
    """Better by changing one group or two, while that can be done within the limits."""
    groups = np.arange(len(scores))
    taken = np.array(start)
    options = [(g, c) for g in groups for c in np.flatnonzero(allowed[g])]
    at_group, at_choice = np.array([g for g, _ in options]), np.array([c for _, c in options])
    while True:
        gain = scores[at_group, at_choice] - scores[at_group, taken[at_group]]
        extra = costs[:, at_group, at_choice] - costs[:, at_group, taken[at_group]]
        left = np.array(limits) - costs[:, groups, taken].sum(axis=1)
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
    return bool((costs[:, np.arange(len(choices)), choices].sum(axis=1) <= np.array(limits)).all())


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
