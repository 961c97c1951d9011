"""The best bits for 54 groups x 5 choices under one budget: emqlang, and PuLP with CBC at gap 0.

    pip install "pulp<4"
    python benchmarks/assignment.py

The groups are ResNet-50's 54 layers, 2 to 6 bits; the cost is their size in bytes, and the budget
lies at 10 to 90 % of its range. Three kinds of score: errors that fall fourfold a bit; the same
with noise of 30 %, so that the choices are not concave; and scores that follow the cost to 1 %,
which are the hard ones for a knapsack. Both sides get the same table. Building a problem and
solving it are timed apart, objectives are added up again from the choices, and no limit may be
passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import median
from time import perf_counter

import numpy as np
import pulp
import torch
from machine import describe
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
SEEDS = range(3)
KINDS = ("fourfold", "noisy", "by cost")


@dataclass(frozen=True)
class Problem:
    """Scores and costs (groups, choices), and the limit."""

    kind: str
    scores: Floats
    costs: Ints
    limit: int


@dataclass(frozen=True)
class Run:
    """What one side chose, and how many seconds it took."""

    building: float
    solving: float
    choices: tuple[int, ...]


def weights() -> Ints:
    """Number of weights of every layer of ResNet-50."""
    with torch.device("meta"):
        modules = MODELS["resnet50"].build().modules()
    return np.array(
        [part.weight.numel() for part in modules if isinstance(part, (nn.Conv2d, nn.Linear))],
        np.int64,
    )


def problems() -> Iterator[Problem]:
    costs = -(-np.outer(weights(), BITS) // 8)
    span = costs[:, -1] - costs[:, 0]
    for kind in KINDS:
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            scores = -np.outer(rng.lognormal(size=len(costs)), 4.0**-BITS)
            if kind == "noisy":
                scores *= rng.uniform(0.7, 1.3, scores.shape)
            if kind == "by cost":
                scores = costs * rng.uniform(0.99, 1.01, costs.shape)
            for share in SHARES:
                yield Problem(kind, scores, costs, int(costs[:, 0].sum() + share * span.sum()))


def ours(problem: Problem) -> Run:
    start = perf_counter()
    budget = Budget(QUANTITIES["size"], problem.costs, 0, problem.limit, 2**20)
    built = perf_counter()
    found = assign(problem.scores, [budget], np.ones(problem.scores.shape, bool))
    assert found is not None and found.status == "optimal"
    return Run(built - start, perf_counter() - built, found.choices)


def rival(problem: Problem) -> Run:
    start = perf_counter()
    model = pulp.LpProblem("bits", pulp.LpMaximize)
    groups, choices = (range(size) for size in problem.scores.shape)
    taken = [[pulp.LpVariable(f"x{g}_{c}", cat="Binary") for c in choices] for g in groups]
    model += pulp.lpSum(float(problem.scores[g, c]) * taken[g][c] for g in groups for c in choices)
    model += (
        pulp.lpSum(int(problem.costs[g, c]) * taken[g][c] for g in groups for c in choices)
        <= problem.limit
    )
    for row in taken:
        model += pulp.lpSum(row) == 1
    built = perf_counter()
    model.solve(pulp.PULP_CBC_CMD(msg=False, gapRel=0, gapAbs=0, threads=1))
    solved = perf_counter()
    assert pulp.LpStatus[model.status] == "Optimal"
    return Run(
        built - start,
        solved - built,
        tuple(int(np.argmax([x.value() for x in row])) for row in taken),
    )


def value(problem: Problem, run: Run) -> float:
    groups = np.arange(len(problem.scores))
    assert problem.costs[groups, run.choices].sum() <= problem.limit
    return fsum(problem.scores[groups, run.choices])


def show(name: str, runs: Sequence[Run]) -> None:
    times = {
        "building": [1000 * run.building for run in runs],
        "solving": [1000 * run.solving for run in runs],
    }
    columns = (f"{step} {median(t):8.2f} ({max(t):8.2f})" for step, t in times.items())
    print(name, *columns, sep="  ")


def main() -> None:
    for warm_up in (ours, rival):
        warm_up(next(problems()))
    runs = [(problem, ours(problem), rival(problem)) for problem in problems()]
    print(describe(), f"pulp {pulp.__version__}")
    print(f"{len(runs)} problems, {len(runs[0][0].scores)} groups x {len(BITS)} choices")
    print("milliseconds: median (worst)")
    for kind in KINDS:
        pairs = [(own, other) for problem, own, other in runs if problem.kind == kind]
        show(f"{kind:9} emqlang ", [own for own, _ in pairs])
        show(f"{kind:9} PuLP    ", [other for _, other in pairs])
        ratio = median(other.solving / own.solving for own, other in pairs)
        print(f"{kind:9} PuLP / emqlang, solving: {ratio:.1f}x (target 5x)")
    ahead = np.array([value(problem, own) - value(problem, other) for problem, own, other in runs])
    better, equal, worse = (ahead > 0).sum(), (ahead == 0).sum(), (ahead < 0).sum()
    most = max(0.0, -ahead.min())
    print(
        f"objective better in {better}, equal in {equal}, worse in {worse} (by at most {most:.2g})"
    )


if __name__ == "__main__":
    main()
