"""The best bits for 54 groups x 5 choices under one budget: emqlang, and PuLP with CBC at gap 0.

    pip install "pulp<4"
    python benchmarks/assignment.py

The groups are ResNet-50's 54 layers, 2 to 6 bits; the cost is their size in bytes, and the budget
lies at 10 to 90 % of its range. Three kinds of score: errors that fall fourfold a bit; the same
with noise of 30 %, so that the choices are not concave; and scores that follow the cost to 1 %,
which are the hard ones for a knapsack. Both sides get the same table. Building the rival's model is
not timed; objectives are added up again from the choices, and no limit may be passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any

import harness
import numpy as np
import torch
from harness import Benchmark, Case, Side
from torch import nn

from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.knapsack import Floats, Ints
from emqlang.quant.bits.solver import assign
from emqlang.quant.models import MODELS

BITS = np.arange(2, 7)
SHARES = (
    0.1,
    0.3,
    0.5,
    0.7,
    0.9,
)  # of the way from the cheapest configuration to the most expensive
SEEDS = range(1)
KINDS = ("fourfold", "noisy", "by cost")


@dataclass(frozen=True)
class Problem:
    """Scores and costs (groups, choices), and the limit."""

    scores: Floats
    costs: Ints
    limit: int


def weights() -> Ints:
    """Number of weights of every layer of ResNet-50."""
    with torch.device("meta"):
        modules = MODELS["resnet50"].build().modules()
    return np.array(
        [part.weight.numel() for part in modules if isinstance(part, (nn.Conv2d, nn.Linear))],
        np.int64,
    )


def problems_of(kind: str) -> Iterator[Problem]:
    costs = -(-np.outer(weights(), BITS) // 8)
    span = costs[:, -1] - costs[:, 0]
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        scores = -np.outer(rng.lognormal(size=len(costs)), 4.0**-BITS)
        if kind == "noisy":
            scores *= rng.uniform(0.7, 1.3, scores.shape)
        if kind == "by cost":
            scores = costs * rng.uniform(0.99, 1.01, costs.shape)
        for share in SHARES:
            yield Problem(scores, costs, int(costs[:, 0].sum() + share * span.sum()))


def _solve(problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    """Our choices."""
    found = []
    for problem in problems:
        budget = Budget(QUANTITIES["size"], problem.costs, 0, problem.limit, 2**20)
        best = assign(problem.scores, [budget], np.ones(problem.scores.shape, bool))
        assert best is not None and best.status == "optimal"
        found.append(best.choices)
    return found


class Pulp:
    """The same problems for CBC at gap 0. Models are built before the clock runs."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems, self.models = problems, list[tuple[Any, Any]]()

    def build(self) -> None:
        self.models = [self._model(problem) for problem in self.problems]

    def _model(self, problem: Problem) -> tuple[Any, Any]:
        import pulp

        model = pulp.LpProblem("bits", pulp.LpMaximize)
        pairs = list(np.ndindex(problem.scores.shape))
        taken = {pair: pulp.LpVariable("x{}_{}".format(*pair), cat="Binary") for pair in pairs}
        model += pulp.lpSum(float(problem.scores[pair]) * taken[pair] for pair in pairs)
        cost = pulp.lpSum(int(problem.costs[pair]) * taken[pair] for pair in pairs)
        model += cost <= problem.limit
        for group in range(len(problem.scores)):
            model += pulp.lpSum(taken[group, choice] for choice in range(len(BITS))) == 1
        return model, taken

    def solve(self) -> list[tuple[int, ...]]:
        import pulp

        found = []
        for model, taken in self.models:
            model.solve(pulp.PULP_CBC_CMD(msg=False, gapRel=0, gapAbs=0, threads=1))
            assert pulp.LpStatus[model.status] == "Optimal"
            found.append(tuple(pair[1] for pair, one in taken.items() if one.value() > 0.5))
        return found


def _case(kind: str, rival: bool) -> Case:
    problems = list(problems_of(kind))

    def value(problem: Problem, choices: Sequence[int]) -> float:
        groups = np.arange(len(problem.scores))
        assert problem.costs[groups, choices].sum() <= problem.limit
        return fsum(problem.scores[groups, choices])

    def same(ours: list[Any], theirs: list[Any]) -> None:
        """Ours are optimal: theirs may be better by rounding alone."""
        for problem, own, other in zip(problems, ours, theirs, strict=True):
            assert value(problem, own) >= value(problem, other) - 1e-9 * abs(value(problem, own))

    pulp = Pulp(problems)
    rivals = [Side("PuLP", pulp.solve, pulp.build)] if rival else []
    ours = Side("emqlang", partial(_solve, problems))
    return Case(ours, rivals, same=same, per=len(problems))


NAME = "assignment of 54 x 5"
# The rival takes half a minute for some of the hard ones: they are timed alone.
BENCHMARKS = (
    *(
        Benchmark(f"{NAME}, {kind}", partial(_case, kind, False), "at most", 1e4, " us")
        for kind in KINDS
    ),
    *(
        Benchmark(
            f"{NAME}, {kind}, against PuLP",
            partial(_case, kind, True),
            "at least",
            5,
            needs=("pulp",),
        )
        for kind in KINDS[:2]
    ),
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
