"""The programs one mutation away from another, scored on a table: where would a search go next?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from random import Random

import numpy as np

from emqlang.evolve.arena import Arena
from emqlang.evolve.fitness import Score, rate, score, signed
from emqlang.evolve.fitness import orders as prints
from emqlang.evolve.typed.space import Space, default_inputs, default_ops
from emqlang.evolve.typed.variation import OPERATORS, vary
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, elaborate, inputs
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.tasks.evolve import benchmark_of
from emqlang.tasks.heldout import on_rows
from emqlang.tasks.judge import Judge

COUNT = 200  # distinct mutations that are scored
TRIES = 20  # times as many are drawn at most
ALONE = tuple(name for name, (_, parents, _) in OPERATORS.items() if parents == 1)


@dataclass(frozen=True)
class Neighbour:
    """A program and its fitness, the mean of Spearman's correlation over the tops.

    operator  that made it; empty for the program itself
    search    on the rows that searches see
    heldout   on the others; NaN where there are too few
    """

    operator: str
    text: str
    nodes: int
    search: float
    heldout: float


@dataclass(frozen=True)
class Neighbourhood:
    """A program, and its mutations that order the rows otherwise, the best on search rows first."""

    program: Neighbour
    others: tuple[Neighbour, ...]


def neighbours(judge: Judge, program: Program, random: Random, count: int = COUNT) -> Neighbourhood:
    """Mutations of a program, drawn as `evolve` draws them, and scored together.

    Statistics are those of the default search but second derivatives, and the program's own.
    """
    read = inputs(program.canonical)
    known = (name for name in default_inputs() if not name.startswith("hess"))
    names = tuple(dict.fromkeys((*known, *read)))
    space = Space.of(names, default_ops(), max_nodes=max(24, program.expr.size + 4))
    made = {program.canonical.digest: ("", program.expr, program.canonical)}
    for name, expr, form in _mutations(space, random, program.expr, count):
        made.setdefault(form.digest, (name, expr, form))
        if len(made) > count:
            break
    benchmark = benchmark_of(judge.table.split("search"), judge.bench, names, "top1")
    arena = Arena([benchmark], "")
    forms = [form for _, _, form in made.values()]
    scores = score(arena, forms)
    unseen = _heldout(arena, judge, forms, scores)
    orders = dict[bytes, Neighbour]()  # of rows, each by the first that has it
    for (operator, expr, _), one, other in zip(made.values(), scores, unseen, strict=True):
        better = signed(expr, one.negative)
        found = Neighbour(operator, show(better), better.size, one.fitness, other)
        if one.fingerprint or not operator:
            orders.setdefault(one.fingerprint, found)
    itself, *others = orders.values()
    return Neighbourhood(itself, tuple(sorted(others, key=lambda one: -one.search)))


def _mutations(
    space: Space, random: Random, parent: Expr, count: int
) -> Iterator[tuple[str, Expr, Expr]]:
    """The operator, the program and its canonical form, of as many as may be needed."""
    for _ in range(TRIES * count):
        name, _, expr = vary(space, random, lambda: parent, ALONE)
        form = whole(elaborate(expr))
        if set(inputs(form)) - {"bits"}:
            yield name, expr, form


def _heldout(arena: Arena, judge: Judge, forms: list[Expr], scores: list[Score]) -> list[float]:
    """Fitness on held-out rows, with the signs that the search rows gave."""
    try:
        unseen = on_rows(arena, [judge.table.split("heldout")], "top1")
        (totals,) = unseen.score(forms)
    except EmqError:  # E406
        return [nan] * len(forms)
    signs = np.array([-1.0 if one.negative else 1.0 for one in scores])
    rows = [totals * signs[:, None]]
    rated = rate(unseen, rows, prints(rows), b"", either_sign=False)
    return [one.fitness for one in rated]
