"""The cheapest bits that cost no more accuracy than allowed: a walk along the Pareto front with real quantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emqlang.quant.bits.solver import Assignment
from emqlang.quant.ptq.evaluate import Evaluation
from emqlang.tasks.problem import Front, Problem
from emqlang.tasks.quantize import Quantization


@dataclass(frozen=True)
class Tried:
    """One point of the front: what it costs, and what its network, quantized, is worth."""

    cost: int
    assignment: Assignment
    found: Evaluation
    drop: float  # of accuracy, or 1 - agreement with float
    enough: bool


@dataclass(frozen=True)
class Walk:
    """Every point that was tried, in that order, and the cheapest good one; None if the dearest is not good enough."""

    tried: tuple[Tried, ...]
    best: Tried | None


def walk(
    problem: Problem,
    front: Front,
    quantization: Quantization,
    most: float,
    tell: Callable[[int, int], None],
) -> Walk:
    """Bisection by cost, as if accuracy rose with it: the dearest point first, then halves. `most` is a share, 0.01 for 1 %."""
    tried: list[Tried] = []
    points = front.points
    steps = 1 + len(points).bit_length()

    def try_out(at: int) -> Tried:
        cost, assignment = points[at]
        found = quantization.run(problem.recipe(assignment, None)).after
        drop = _drop(quantization.before, found)
        tried.append(Tried(cost, assignment, found, drop, drop <= most))
        tell(len(tried), steps)
        return tried[-1]

    best = try_out(len(points) - 1)
    if not best.enough:
        return Walk(tuple(tried), None)
    low, high = 0, len(points) - 1  # points[high] is good enough
    while low < high:
        middle = (low + high) // 2
        found = try_out(middle)
        if found.enough:
            best, high = found, middle
        else:
            low = middle + 1
    return Walk(tuple(tried), best)


def _drop(before: Evaluation, after: Evaluation) -> float:
    if before.accuracy is not None and after.accuracy is not None:
        return before.accuracy - after.accuracy
    assert after.agreement is not None
    return 1 - after.agreement
