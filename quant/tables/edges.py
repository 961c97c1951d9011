"""Rows where bits are assigned: at the edge of size budgets, not spread over all configurations.

Random rows say how a score ranks configurations that nobody would choose. Rows at an edge are what
solvers find there: exact solutions of the scores of proxies and of random sensitivities, and their
neighbours by an exchange of bits between two groups. Each has the budget that it is at the edge of,
the smallest that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools, Floats, Ints
from emqlang.quant.bits.menu import Choice
from emqlang.quant.bits.solver import assign

BUDGETS: Final = 8
EDGE: Final = 0.5  # of the distance between two budgets: rows cost no less than that below one
SHARE: Final = 1 / 3  # of a budget's rows: at most from proxies, and from random sensitivities
SPREAD: Final = 1.5  # deviation of the logarithm of random sensitivities
TRIES: Final = 50  # draws per row that is wanted

Row = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Configurations of a table that is to be built.

    choices  (rows, groups): indices of the menu; the first rows may be searched on
    budgets  sizes in bytes within which the rows are ranked; empty where among all
    """

    choices: Ints
    budgets: tuple[int, ...] = ()


def draw_edges(
    scores: Sequence[Floats],
    menu: Sequence[Choice],
    size: Budget,
    allowed: Bools,
    count: int,
    rng: np.random.Generator,
) -> Drawn:
    """`count` distinct configurations at the edges of BUDGETS sizes, as many at each.

    scores   (groups, choices) of each proxy: finite, higher is better
    allowed  (groups, choices): what each group may take
    Raises E407 where fewer are found.
    """
    limits = _limits(size, allowed)
    parts = np.full(BUDGETS, count // BUDGETS) + (np.arange(BUDGETS) < count % BUDGETS)
    step = limits[1] - limits[0]
    found: list[list[Row]] = []
    for limit, part in zip(limits, parts.tolist(), strict=True):
        edge = _Edge(replace(size, limit=limit), allowed, limit - int(EDGE * step), rng)
        found.append(edge.rows(scores, menu, part))
    if (rows := sum(map(len, found))) < count:
        message = f"{count:,} rows are asked for, and {rows:,} were found at the budgets' edges"
        raise error("E407", message, "ask for fewer rows")
    mixed = [[rows[place] for place in rng.permutation(len(rows))] for rows in found]
    deepest = max(map(len, mixed))  # in turn, so that the first rows have all budgets alike
    turns = [rows[turn] for turn in range(deepest) for rows in mixed if turn < len(rows)]
    return Drawn(np.array(turns, np.int64), tuple(limits))


def _limits(size: Budget, allowed: Bools) -> list[int]:
    """Sizes evenly between the least and the most, both left out."""
    costs = size.costs.astype(np.int64)
    least = size.base + int(np.where(allowed, costs, np.iinfo(np.int64).max).min(1).sum())
    most = size.base + int(np.where(allowed, costs, 0).max(1).sum())
    return [least + (most - least) * k // (BUDGETS + 1) for k in range(1, BUDGETS + 1)]


@dataclass(frozen=True, eq=False)
class _Edge:
    """Configurations that cost more than `above`, and no more than a budget's limit."""

    budget: Budget
    allowed: Bools
    above: int
    rng: np.random.Generator

    def rows(self, scores: Sequence[Floats], menu: Sequence[Choice], count: int) -> list[Row]:
        """Distinct ones: solutions of proxies, of random sensitivities, and their neighbours."""
        part = int(np.ceil(SHARE * count))
        order = self.rng.permutation(len(scores))
        found: dict[Row, None] = {}
        for row in self._solutions(scores[place] for place in order):
            if len(found) < part:
                found[row] = None
        drawn = (_sensitivities(self.allowed, menu, self.rng) for _ in range(TRIES * part))
        for row in self._solutions(drawn):
            if len(found) >= 2 * part:
                break
            found[row] = None
        for _ in range(TRIES * count):
            if len(found) >= count or not found:
                break
            rows = list(found)
            row = self._exchanged(rows[self.rng.integers(len(rows))])
            if self._holds(row):
                found[row] = None
        return list(found)[:count]

    def _solutions(self, scores: Iterator[Floats]) -> Iterator[Row]:
        for one in scores:
            solution = assign(one, [self.budget], self.allowed)
            if solution is not None and self._holds(solution.choices):
                yield solution.choices

    def _exchanged(self, row: Row) -> Row:
        """Two groups with other choices."""
        changed = list(row)
        free = np.flatnonzero(self.allowed.sum(1) > 1)
        for group in self.rng.choice(free, min(2, len(free)), replace=False).tolist():
            changed[group] = int(self.rng.choice(np.flatnonzero(self.allowed[group])))
        return tuple(changed)

    def _holds(self, row: Row) -> bool:
        return self.above < self.budget.cost(row) <= self.budget.limit


def _sensitivities(allowed: Bools, menu: Sequence[Choice], rng: np.random.Generator) -> Floats:
    """Scores of a random loss: what each group's squared error, a quarter per bit, is worth."""
    groups = len(allowed)
    weights = 4.0 ** -np.array([choice.weight_bits for choice in menu])
    acts = 4.0 ** -np.array([choice.act_bits or np.inf for choice in menu], np.float64)
    of_weights, of_acts = np.exp(SPREAD * rng.standard_normal((2, groups, 1)))
    result: Floats = -(of_weights * weights + of_acts * acts)
    return result
