"""Bits improved by exchanges that stay within the budget, judged by the loss as measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.search import exchanges
from emqlang.quant.bits.solver import Assignment
from emqlang.quant.progress import Progress
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.ptq.trials import Trials
from emqlang.tasks.objective import Objective
from emqlang.tasks.problem import POLISHED
from emqlang.tasks.workbench import Workbench

ROUND: Final = 16  # candidates that start together
RUNGS: Final = ((1 / 8, 8), (1 / 4, 4), (1 / 2, 2), (1.0, 1))  # share of images, how many go on

Choices = tuple[int, ...]
Loss = Callable[[Choices, float], float]


@dataclass(frozen=True)
class Polish:
    """What exchanges gained.

    candidates  how many were measured, at least on an eighth of the images
    taken       how many were taken, one after another
    measure     what was measured, on all `images`: less is better
    """

    candidates: int
    taken: int
    images: int
    measure: str
    before: float
    after: float


def trials(workbench: Workbench, act_bits: int, images: int = Procedure().images) -> Trials:
    """The workbench's network on as many calibration images. Raises E303, E304."""
    return Trials(workbench.network, workbench.calibration(images), act_bits)


def polish(
    found: Objective, start: Assignment, trials: Trials, candidates: int, progress: Progress
) -> tuple[Assignment, Polish]:
    """The assignment after exchanges that lose less, and what these gained.

    Candidates change one group or two of the best so far and stay within every budget: half of
    every round are those that the proxy likes best, half are drawn. Those that lose least on few
    images go on to more, and one is taken if it loses less than the best so far on all images.
    Raises E403 where the budget allows no exchange.
    """
    menu, seed = found.problem.menu, found.problem.constraints.seed
    known: dict[tuple[Choices, float], float] = {}

    def loss(choices: Choices, share: float) -> float:
        key = choices, share
        if key not in known:
            known[key] = trials.loss([menu[choice] for choice in choices], share)
        return known[key]

    rng = np.random.default_rng(seed)
    best, tried, taken = start.choices, {start.choices}, 0
    before, measured = loss(best, 1.0), 0
    while measured < candidates:
        round = _round(found, best, tried, min(ROUND, candidates - measured), rng)
        if not round:
            break
        tried |= set(round)
        measured += len(round)
        winner = _halved(round, loss)
        if loss(winner, 1.0) < loss(best, 1.0):
            best, taken = winner, taken + 1
        progress("polish", measured, candidates)
    if not measured:
        raise error(
            "E403",
            "there is nothing to polish: the budget allows no exchange of bits",
            "give a larger budget, more bits to choose from, or leave out --polish",
        )
    gained = Polish(measured, taken, trials.images, trials.measure, before, loss(best, 1.0))
    if not taken:
        return start, gained
    polished = Assignment(best, found.score(best), POLISHED, float("inf"), start.seconds)
    return polished, gained


def _halved(round: list[Choices], loss: Loss) -> Choices:
    """The one that is left after more and more images."""
    for share, kept in RUNGS:
        round = sorted(round, key=lambda choices: (loss(choices, share), choices))[:kept]
    return round[0]


def _round(
    found: Objective, best: Choices, tried: set[Choices], count: int, rng: np.random.Generator
) -> list[Choices]:
    """New exchanges: half of them the proxy's best, half drawn."""
    problem = found.problem
    rows = exchanges(best, problem.budgets, problem.allowed)
    fresh = [choices for choices in map(tuple, rows.tolist()) if choices not in tried]
    if not fresh:
        return []
    scores = found.totals(np.array(fresh))
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable").tolist()
    liked = order[: (count + 1) // 2]
    others = order[len(liked) :]
    drawn = rng.permutation(len(others))[: count - len(liked)].tolist()
    return [fresh[place] for place in (*liked, *(others[place] for place in drawn))]
