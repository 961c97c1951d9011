"""Good bits by a score that is no sum over groups: a search by moves, from exact starts.

Nothing proves its answer. It starts from the exact solutions of sums that stand in for the score:
what it gains where one group alone leaves a reference. Each start is improved by the best change of
one group, or of two that together stay within every budget, until none is left; then the best ones
are kicked and improved again. What was found is judged by another score, as of other images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf, isfinite, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools, Floats, Ints
from emqlang.quant.bits.solver import Assignment, nearly, whole_costs

Score = Callable[[Ints], Floats]  # of configurations (n, groups), one number each
Choices = tuple[int, ...]
FOUND: Final = "best found"
LISTED: Final = 2**20  # configurations that are listed to find those within the budgets,
SCORED: Final = 2**18  # and those of them that are scored to prove the best
TIGHTER: Final = (0.0, 0.02, 0.05, 0.1, 0.2)  # shares of the room in every budget that starts leave
ROWS: Final = 120_000  # configurations that are scored, after which no more starts are made
KICKS: Final = 40  # starts from what was found, a few groups changed
DRAWN: Final = 8  # starts from stand-ins with noise
_PAIRS: Final = 256  # exchanges that are scored at every step: those whose two gains add up to most
_EQUAL: Final = 1e-12  # relative: a smaller gain is none


def search(
    score: Score,
    budgets: Sequence[Budget],
    allowed: Bools,
    halves: tuple[Score, Score] | None = None,
    seed: int = 0,
) -> Assignment | None:
    """The best configuration that was found within every budget; None if there is none.

    allowed  (groups, choices), False where a choice is fixed away
    halves   the score on one half of the images, which leads the search, and on the other, by which
             the finalists are compared; None where no images are read
    The status is `optimal` if all that is within the budgets could be scored, on all images; else
    `best found`, and the gap is infinite. The score of the assignment is that of all images.
    """
    began = time.perf_counter()
    every = within(budgets, allowed)
    if every is None:
        led, judge = halves or (score, score)
        finalists, status, gap = local_search(led, budgets, allowed, seed), FOUND, inf
    else:
        judge, finalists, status, gap = score, every, "optimal", 0.0
    if not len(finalists):
        return None
    best = finalists[int(_finite(judge(finalists)).argmax())]
    value, seconds = float(score(best[None])[0]), time.perf_counter() - began
    return Assignment(tuple(best.tolist()), value, status, gap, seconds)


def within(budgets: Sequence[Budget], allowed: Bools) -> Ints | None:
    """Every configuration within the budgets, (n, groups); None if they are too many to score."""
    for budget in budgets:  # what no others, at their cheapest, leave room for
        costs = whole_costs(budget.costs)
        least = np.where(allowed, costs, costs.max()).min(axis=1)
        room = budget.limit - budget.base - least.sum()
        allowed = allowed & np.asarray(costs - least[:, None] <= room, bool)
    if not allowed.any(axis=1).all():
        return np.empty((0, len(allowed)), np.int64)
    options = [np.flatnonzero(row) for row in allowed]
    if prod(map(len, options)) > LISTED:
        return None
    free = [group for group, columns in enumerate(options) if len(columns) > 1]
    parts = np.meshgrid(*(options[group] for group in free), indexing="ij")
    rows = np.tile(allowed.argmax(axis=1), (prod(len(options[group]) for group in free), 1))
    rows[:, free] = np.reshape(parts, (len(free), -1)).T if free else 0
    groups = np.arange(len(options))
    for budget in budgets:
        spent = whole_costs(budget.costs)[groups, rows].sum(axis=1)
        rows = rows[np.asarray(spent <= budget.limit - budget.base, bool)]
    return rows if len(rows) <= SCORED else None


def local_search(score: Score, budgets: Sequence[Budget], allowed: Bools, seed: int = 0) -> Ints:
    """Where the search ends from all its starts, the best first; (n, groups), none if none."""
    search = _Search(score, budgets, allowed, seed)
    for start in search.starts():
        search.climb(start)
    search.kick()
    return search.finalists()


def improve(
    score: Score, budgets: Sequence[Budget], allowed: Bools, starts: Iterable[Choices]
) -> Ints:
    """Where the search ends from these starts, all within the budgets; as `local_search`."""
    search = _Search(score, budgets, allowed, 0)
    for start in starts:
        search.climb(start)
    return search.finalists()


def exchanges(here: Choices, budgets: Sequence[Budget], allowed: Bools) -> Ints:
    """Every change of one group or two that is within the budgets, (n, groups)."""
    search = _Search(lambda rows: np.zeros(len(rows)), budgets, allowed, 0)
    return search.around(np.array(here))


class _Search:
    """One search: its problem, what it has been at, and how many configurations it has scored."""

    def __init__(self, score: Score, budgets: Sequence[Budget], allowed: Bools, seed: int) -> None:
        self.score, self.budgets, self.allowed = score, budgets, allowed
        self.groups = np.arange(len(allowed))
        self.at, self.to = np.nonzero(allowed)  # every change of one group: which, to what
        none = np.zeros((1, *allowed.shape), np.int64)
        costs = [whole_costs(budget.costs) for budget in budgets]
        self.costs: NDArray[Any] = np.array(costs) if costs else none
        limits = [budget.limit - budget.base for budget in budgets] or [0]
        self.limits = np.array(limits, self.costs.dtype if self.costs.dtype == object else None)
        self.rng = np.random.default_rng(seed)
        self.seen: set[Choices] = set()  # where it has been: from there it goes where it went
        self.found: dict[Choices, float] = {}
        self.rows = 0

    def finalists(self) -> Ints:
        """Where it ended, the best first."""
        return np.array(self._best(), np.int64).reshape(-1, len(self.allowed))

    def _best(self) -> list[Choices]:
        return sorted(self.found, key=lambda key: (-self.found[key], key))

    def kick(self) -> None:
        """Starts from the three best, each with a few groups changed."""
        for _ in range(KICKS if self.found else 0):
            if self.rows > ROWS:
                return
            best = self._best()[:3]
            kicked = self._kicked(best[int(self.rng.integers(len(best)))])
            if kicked is not None:
                self.climb(kicked)

    def starts(self) -> Iterator[Choices]:
        """Solutions of stand-ins: about the most and the least bits, what was found, and noise."""
        for reference in self._references():
            table = self._alone(reference)
            yield from self._solutions(table, TIGHTER)
        for _ in range(3):  # about the best so far, until that is where it leads
            if not self.found or self.rows > ROWS:
                return
            table = self._alone(self._best()[0])
            yield from self._solutions(table, TIGHTER[:2])
        for _ in range(DRAWN):
            if self.rows > ROWS:
                return
            noise = np.exp(0.5 * self.rng.standard_normal(table.shape))
            yield from self._solutions(table * noise, (0.0,))

    def _references(self) -> Iterator[Choices]:
        costs = self.costs.sum(axis=0).astype(np.float64)
        yield tuple(np.where(self.allowed, costs, -inf).argmax(axis=1).tolist())
        yield tuple(np.where(self.allowed, costs, inf).argmin(axis=1).tolist())

    def _solutions(self, table: Floats, shares: Sequence[float]) -> Iterator[Choices]:
        least = np.where(self.allowed, self.costs, self.costs.max()).min(axis=2).sum(axis=1)
        for share in shares:
            budgets = [
                replace(
                    budget, limit=budget.limit - int((budget.limit - budget.base - low) * share)
                )
                for budget, low in zip(self.budgets, least.tolist(), strict=False)
            ]
            if (found := nearly(table, budgets, self.allowed)) is not None:
                yield found

    def _alone(self, reference: Choices) -> Floats:
        """(groups, choices): what the score gains where one group alone leaves the reference."""
        here = np.array(reference)
        table = np.zeros(self.allowed.shape)
        with np.errstate(invalid="ignore"):
            gained = self._scores(self._moved(here)) - self._scores(here[None])[0]
        worst = float(np.min(gained, initial=0.0, where=np.isfinite(gained)))
        table[self.at, self.to] = np.where(np.isfinite(gained), gained, 2 * worst)
        return table

    def _scores(self, configurations: Ints) -> Floats:
        self.rows += len(configurations)
        return _finite(self.score(configurations))

    def _moved(self, here: Ints) -> Ints:
        """Every change of one group, (changes, groups)."""
        rows = np.tile(here, (len(self.at), 1))
        rows[np.arange(len(rows)), self.at] = self.to
        return rows

    def climb(self, start: Choices) -> None:
        """Take the best step until there is none, or until it leads to where it has been."""
        here = np.array(start)
        value = float(self._scores(here[None])[0])
        while (key := tuple(here.tolist())) not in self.seen:
            self.seen.add(key)
            step = self._step(here, value)
            if step is None:
                self.found[key] = value
                return
            here, value = step

    def _step(self, here: Ints, value: float) -> tuple[Ints, float] | None:
        """The best change of one group or two that is within the budgets, and its score."""
        moved = self._moved(here)
        singles = self._scores(moved)
        extra, left = self._room(here)
        fits = _fits(extra, left)
        least = value + _EQUAL * abs(value) if isfinite(value) else value
        best = _better(moved[fits], singles[fits], least)
        pairs = self._exchanges(extra, left, here)
        with np.errstate(invalid="ignore"):
            hope = singles[pairs].sum(axis=0)
        pairs = pairs[:, np.argsort(-hope, kind="stable")]
        for part in (pairs[:, :_PAIRS], pairs[:, _PAIRS:]):
            if part.size:
                rows = self._exchanged(here, part)
                best = _better(rows, self._scores(rows), best[1] if best else least) or best
            if best is not None:
                return best  # all the others are scored only where nothing else is left
        return None

    def around(self, here: Ints) -> Ints:
        """Every change of one group or two that is within the budgets, (n, groups)."""
        extra, left = self._room(here)
        changed = _fits(extra, left) & (self.to != here[self.at])
        pairs = self._exchanged(here, self._exchanges(extra, left, here))
        return np.concatenate([self._moved(here)[changed], pairs])

    def _room(self, here: Ints) -> tuple[NDArray[Any], NDArray[Any]]:
        """What every change costs more (budgets, changes), and what is left (budgets,)."""
        extra = self.costs[:, self.at, self.to] - self.costs[:, self.at, here[self.at]]
        return extra, self.limits - self.costs[:, self.groups, here].sum(axis=1)

    def _exchanged(self, here: Ints, pairs: Ints) -> Ints:
        """Both changes of each of the pairs (2, n): (n, groups)."""
        rows = np.tile(here, (pairs.shape[1], 1))
        rows[np.arange(len(rows)), self.at[pairs]] = self.to[pairs]
        return rows

    def _exchanges(self, extra: NDArray[Any], left: NDArray[Any], here: Ints) -> Ints:
        """Pairs of changes (2, n), of two groups each, that together stay within the budgets."""
        changes = np.flatnonzero(self.to != here[self.at])
        pairs = changes[np.array(np.triu_indices(len(changes), 1))]
        pairs = pairs[:, self.at[pairs[0]] != self.at[pairs[1]]]
        together = extra[:, pairs].sum(axis=1)
        return pairs[:, _fits(together, left)]

    def _kicked(self, start: Choices) -> Choices | None:
        """A few groups changed at random, then groups made cheaper until the budgets are met."""
        here = np.array(start)
        count = int(self.rng.integers(2, 5))
        for group in self.rng.permutation(len(here))[:count]:
            here[group] = self.rng.choice(np.flatnonzero(self.allowed[group]))
        for group in self.rng.permutation(len(here)):
            over = self.costs[:, self.groups, here].sum(axis=1) - self.limits
            if (over <= 0).all():
                break
            budget = int(np.argmax(over > 0))
            row = np.where(self.allowed[group], self.costs[budget, group], self.costs.max() + 1)
            here[group] = int(row.argmin())
        spent = self.costs[:, self.groups, here].sum(axis=1)
        return tuple(here.tolist()) if (spent <= self.limits).all() else None


def _fits(extra: NDArray[Any], left: NDArray[Any]) -> Bools:
    """Which of the extra costs (budgets, n) are within what is left of every budget."""
    return np.asarray((extra <= left[:, None]).all(axis=0), bool)


def _better(rows: Ints, scores: Floats, least: float) -> tuple[Ints, float] | None:
    """The row with the greatest score, if that is greater than `least`."""
    place = int(scores.argmax()) if len(scores) else 0
    return (rows[place], float(scores[place])) if len(scores) and scores[place] > least else None


def _finite(scores: Floats) -> Floats:
    """A score that is no number is the worst."""
    return np.where(np.isfinite(scores), scores, -inf)
