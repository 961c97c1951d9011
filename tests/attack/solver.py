"""Random assignment problems against enumeration in rational arithmetic."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from trials import Attack, Verdict

from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.solver import assign

LARGEST = 5000  # configurations that are enumerated


def _drawn(
    chance: random.Random,
) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]], list[int]]:
    groups, choices = chance.randint(1, 6), chance.randint(1, 5)
    while choices**groups > LARGEST:
        groups -= 1
    decades = chance.choice((0, 1, 3, 10, 30, 100))
    scale = [10 ** chance.uniform(-decades / 2, decades / 2) for _ in range(groups)]
    whole = chance.random() < 0.3  # many ties
    draw = (lambda: chance.randint(-3, 3)) if whole else (lambda: chance.gauss(0, 1))
    scores = np.array([[draw() * scale[g] for _ in range(choices)] for g in range(groups)])
    largest = chance.choice((5, 1000, 10**9, 2**58))
    budgets = chance.randint(0, 3)
    costs = [
        np.array(
            [sorted(chance.randint(0, largest) for _ in range(choices)) for _ in range(groups)]
        )
        for _ in range(budgets)
    ]
    limits = [
        chance.randint(int(cost.min(1).sum()) - 1, max(int(cost.max(1).sum()), 1)) for cost in costs
    ]
    return scores, costs, [max(limit, 1) for limit in limits]


def _best(scores: Any, costs: Any, limits: list[int]) -> Fraction | None:
    exact = [[Fraction(float(value)) for value in row] for row in scores]
    best: Fraction | None = None
    for chosen in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        fits = all(
            sum(int(cost[g, c]) for g, c in enumerate(chosen)) <= limit
            for cost, limit in zip(costs, limits, strict=True)
        )
        if fits:
            total = sum((exact[g][c] for g, c in enumerate(chosen)), Fraction(0))
            best = total if best is None else max(best, total)
    return best


def _trial(_: object, number: int) -> Verdict:
    scores, costs, limits = _drawn(random.Random(number))
    quantities = list(QUANTITIES.values())
    budgets = [
        Budget(quantities[place], cost, 0, limit, 1)
        for place, (cost, limit) in enumerate(zip(costs, limits, strict=True))
    ]
    found = assign(scores, budgets, np.ones(scores.shape, bool))
    best = _best(scores, costs, limits)
    if found is None or best is None:
        return Verdict((found is None) == (best is None), "no configuration fits")
    for cost, limit in zip(costs, limits, strict=True):
        if sum(int(cost[g, c]) for g, c in enumerate(found.choices)) > limit:
            return Verdict(False, "over budget")
    total = sum((Fraction(float(scores[g, c])) for g, c in enumerate(found.choices)), Fraction(0))
    if total == best:
        return Verdict(True, f"the best, {found.status}")
    status = found.status
    return Verdict(status != "optimal", f"{status}, though {float(best - total):.3g} are missing")


def _nothing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


ATTACKS = (
    Attack(
        "assignment",
        "what `assign` calls optimal is the best configuration, in exact arithmetic, of random "
        "problems: scores over up to 100 decades, ties, costs up to 2**58, no budget to three",
        10_000,
        _nothing,
        _trial,
    ),
)
