"""What a search's programs are worth on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emqlang.evolve.arena import Arena
from emqlang.evolve.fitness import Combine, Score, orders, rate
from emqlang.evolve.history import Entry
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.expr import Expr
from emqlang.grammar.program import parse
from emqlang.quant.tables.table import Table, load
from emqlang.tasks.truth import regrets, truth_of

ENOUGH = 100  # rows; of fewer, a search finds programs that rank them by chance


@dataclass(frozen=True)
class HeldOut:
    """A program on rows that the search has not seen.

    score   by the search's own rule, with the sign that it has
    regret  accuracy lost within size budgets by the rows that it prefers, in percentage points: the
            mean over the tables
    """

    score: Score
    regret: float


def held_out(
    arena: Arena, settings: SearchSettings, options: EvaluationOptions, entries: Sequence[Entry]
) -> dict[int, HeldOut]:
    """Program -> what it is worth on the held-out rows of the arena's tables.

    Empty where there are no such rows or too few to rank, and with the authors' formulas, whose
    programs a text does not hold.
    """
    forms = {entry.number: form for entry in entries if (form := _form(entry.text)) is not None}
    if options.split == "all" or settings.semantics == "paper" or not forms:
        return {}
    rows = [load(name).split("heldout") for name in options.tables]
    try:
        unseen = on_rows(arena, rows, options.by)
        totals = unseen.score([*forms.values()])
        names, combine = orders(totals), Combine(settings.combine)
        scores = rate(unseen, totals, names, b"", combine, either_sign=False)
    except EmqError:  # E406
        return {}
    lost = np.mean([regrets(*each) for each in zip(rows, totals, strict=True)], axis=0)
    worth = (HeldOut(score, float(one)) for score, one in zip(scores, lost, strict=True))
    return dict(zip(forms, worth, strict=True))


def on_rows(arena: Arena, tables: Sequence[Table], by: str) -> Arena:
    """The arena's networks on other rows of its tables."""
    benchmarks = [
        replace(
            one,
            choices=table.choices,
            truth=truth_of(table, by).values,
            strata=table.strata,
        )
        for one, table in zip(arena.benchmarks, tables, strict=True)
    ]
    return Arena(benchmarks, f"{arena.fingerprint} on other rows", arena.cache)


def _form(text: str) -> Expr | None:
    """What a program's text means; None for genes that the language cannot say."""
    try:
        return parse(text).canonical
    except EmqError:
        return None


def few_rows(arena: Arena) -> Iterator[Diagnostic]:
    """W617 for each table with fewer than ENOUGH rows to search on."""
    for one in arena.benchmarks:
        if (rows := len(one.truth)) < ENOUGH:
            message = f"the search saw {rows} rows of '{one.name}': fitness is high by chance"
            help = "build a larger table, or trust the held-out figures only"
            yield Diagnostic("W617", message, help=(help,))
