"""What a proxy says of the configurations of a problem, and the bits that this chooses."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools, Floats, Ints, added
from emqlang.quant.bits.search import FOUND, Score, improve, search, within
from emqlang.quant.bits.solver import Assignment, assign, drawn, nearly, pareto, sample, total
from emqlang.quant.bits.uniform import uniform
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import Scores
from emqlang.scores.table import ScoreTable, totals
from emqlang.tasks.problem import Front, Problem, Uniform

POINTS: Final = 20  # budgets that a front is searched at, if not all configurations are scored
_OTHER: Final = "choose another proxy, or fix these groups"


@dataclass(frozen=True, eq=False)
class Objective(ABC):
    """A proxy's scores on the configurations of a problem."""

    problem: Problem

    @abstractmethod
    def score(self, choices: Sequence[int]) -> float:
        """Of one configuration, in columns of the problem's menu."""

    @abstractmethod
    def totals(self, rows: Ints) -> Floats:
        """The scores of configurations (n, groups), in columns of the problem's menu."""

    @abstractmethod
    def solve(self) -> Assignment:
        """The best choices that are found. Raises E405 where the samples hold none, E501."""

    @abstractmethod
    def front(self, budget: Budget) -> Front:
        """Undominated assignments over a budget, up to its limit if any. Raises E501."""

    def uniform(self) -> Uniform | None:
        """Uniform bits within the problem's budgets; None where there are none."""
        found = self.all_uniform()
        return found[-1][1] if found else None

    def all_uniform(self, over: Budget | None = None) -> tuple[tuple[int, Uniform], ...]:
        """Every uniform choice within the budgets, narrowest first, and its cost in one."""
        problem, groups = self.problem, self.problem.network.collection.groups
        held = {index for index, group in enumerate(groups) if group.name in problem.held}
        kept = held | set(problem.fixed)
        return tuple(
            (
                over.cost(choices) if over is not None else 0,
                Uniform(choice, Assignment(choices, self.score(choices), "given", 0.0, 0.0)),
            )
            for choice, choices in uniform(problem.menu, problem.allowed, kept, problem.budgets)
        )


@dataclass(frozen=True, eq=False)
class Additive(Objective):
    """Scores that add up: (groups, menu). Its answers are exact."""

    scores: Floats

    def score(self, choices: Sequence[int]) -> float:
        return total(self.scores, choices)

    def totals(self, rows: Ints) -> Floats:
        return totals(self.scores, rows)

    def solve(self) -> Assignment:
        problem, finite = self.problem, _finite(self.scores, self.problem)
        terms = problem.constraints
        if terms.method == "sample":
            rng = np.random.default_rng(terms.seed)
            best = sample(finite, problem.budgets, problem.allowed, terms.samples, rng)
        else:
            best = assign(finite, problem.budgets, problem.allowed)
        if best is None:  # none of the samples
            raise problem.impossible()
        return best

    def front(self, budget: Budget) -> Front:
        points = pareto(_finite(self.scores, self.problem), budget, self.problem.allowed)
        cut = [point for point in points if not budget.limit or point[0] <= budget.limit]
        return Front(budget, tuple(cut))


@dataclass(frozen=True, eq=False)
class Joint(Objective):
    """A score that is no sum over groups. Its answers are the best that a search finds.

    table    of the menu that `columns` point into, one for each choice of the problem's menu
    """

    table: ConfigurationScore
    columns: Ints

    def score(self, choices: Sequence[int]) -> float:
        return float(self.totals(np.array([choices]))[0])

    def totals(self, rows: Ints) -> Floats:
        return self.table.totals(self.columns[rows])

    def solve(self) -> Assignment:
        self._check()
        problem, terms = self.problem, self.problem.constraints
        if terms.method == "sample":
            best = self._sampled()
        else:
            best = search(self.totals, problem.budgets, problem.allowed, self._halves(), terms.seed)
        if best is None:
            raise problem.impossible()
        if not np.isfinite(best.score):
            raise error("E501", "no score that was computed within budget is finite", _OTHER)
        return best

    def front(self, budget: Budget) -> Front:
        self._check()
        began = time.perf_counter()
        rows = within([], self.problem.allowed)
        status, gap = (FOUND, inf) if rows is None else ("optimal", 0.0)
        rows = self._searched(budget) if rows is None else rows
        groups = np.arange(rows.shape[1])
        costs = budget.costs.astype(object)[groups, rows].sum(axis=1) + budget.base
        scores, seconds = self.totals(rows), time.perf_counter() - began
        points, best = list[tuple[int, Assignment]](), -inf
        for place in np.lexsort((-scores, costs.astype(np.float64))):
            cost, score = int(costs[place]), float(scores[place])
            if score > best and (not budget.limit or cost <= budget.limit):
                choices, best = tuple(rows[place].tolist()), score
                points.append((cost, Assignment(choices, score, status, gap, seconds)))
        return Front(budget, tuple(points))

    def _halves(self) -> tuple[Score, Score] | None:
        """The score on one half of the images, and on the other; None where none are read."""
        halves = self.table.halves()
        if halves is None:
            return None
        first, second = (replace(self, table=half) for half in halves)
        return first.totals, second.totals

    def _searched(self, budget: Budget) -> Ints:
        """Configurations that are good under limits from the least cost to the most.

        Among them are uniform ones and the starts, which all images may like better.
        """
        allowed, costs = self.problem.allowed, budget.costs.astype(object)
        least = budget.base + int(np.where(allowed, costs, costs.max()).min(axis=1).sum())
        most = budget.base + int(np.where(allowed, costs, costs.min()).max(axis=1).sum())
        most = min(most, budget.limit) if budget.limit else most
        led, judge = self._halves() or (self.totals, self.totals)
        table = np.where(allowed, self.table.alone()[:, self.columns], 0.0)
        found = list[tuple[int, ...]]()
        others = [beside.assignment.choices for _, beside in self.all_uniform()]
        for step in range(POINTS + 1):
            limited = replace(budget, limit=least + (most - least) * step // POINTS)
            start = nearly(table, [limited], allowed)
            starts = [start] if start is not None else []
            others += starts
            ended = improve(led, [limited], allowed, [*starts, *found[-1:]])
            found.append(tuple(ended[int(judge(ended).argmax())].tolist()))
        return np.array(list(dict.fromkeys((*found, *others))))

    def _sampled(self) -> Assignment | None:
        """The best of random configurations within budget: the paper's section 4.1."""
        problem, terms = self.problem, self.problem.constraints
        began, rng = time.perf_counter(), np.random.default_rng(terms.seed)
        best, choices = -inf, tuple[int, ...]()
        for rows in drawn(problem.budgets, problem.allowed, terms.samples, rng):
            scores = self.totals(rows)
            place = int(np.where(np.isfinite(scores), scores, -inf).argmax())
            if scores[place] > best:
                best, choices = float(scores[place]), tuple(rows[place].tolist())
        seconds = time.perf_counter() - began
        return Assignment(choices, best, "feasible", inf, seconds) if choices else None

    def _check(self) -> None:
        """Raises E501 where what a group adds to a total is not finite."""
        for terms in self.table.terms.values():
            lost = np.isnan(terms[:, self.columns]).any(axis=2)
            _refuse_broken(lost & self.problem.allowed, self.problem)


def objective(problem: Problem, table: Scores) -> Objective:
    """What a proxy's scores say of a problem.

    Groups whose scores prefer no choice are refused (E409), or held at the most bits that they may
    have if the constraints say so. Raises E402 for a fixed choice that the scores lack, E405 where
    holding groups leaves no assignment; E402 for scores of other groups.
    """
    groups = [group.name for group in problem.network.collection.groups]
    if [group.name for group in table.groups] != groups:
        message = "the score table has other groups than the network"
        raise error("E402", message, "score on the statistics that bits are chosen with")
    missing = [choice for choice in problem.menu if choice not in table.choices]
    if missing:
        raise error(
            "E402",
            f"the score table has no {missing[0]}",
            "score with a menu that holds every fixed choice",
        )
    columns = np.array([table.choices.index(choice) for choice in problem.menu])
    may: Bools = np.zeros((len(groups), len(table.choices)), bool)
    may[:, columns] = problem.allowed
    undecided = table.undecided(may)
    if undecided:
        problem = problem.holding(undecided)
    if isinstance(table, ScoreTable):
        return Additive(problem, table.scores[:, columns])
    return Joint(problem, table, columns)


def _finite(scores: Floats, problem: Problem) -> Floats:
    """Scores, zero where a group may not choose. Raises E501 if others are not finite."""
    _refuse_broken(~np.isfinite(scores) & problem.allowed, problem)
    used = np.where(problem.allowed, scores, 0.0)
    if not np.isfinite(added(np.abs(used).max(axis=1))):
        message = "the scores of the groups may add up to no finite number"
        raise error("E501", message, "choose another proxy, or divide it by a constant")
    return used


def _refuse_broken(broken: Bools, problem: Problem) -> None:
    """Raises E501, naming the groups with a choice (groups, menu) that has no finite score."""
    if broken.any():
        groups = problem.network.collection.groups
        names = [groups[g].name for g in np.flatnonzero(broken.any(axis=1))]
        raise error("E501", f"the scores of {', '.join(names[:5])} are not finite", _OTHER)
