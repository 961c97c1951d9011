"""What a search's programs are worth on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from emqlang.evolve.arena import Arena
from emqlang.evolve.fitness import Combine, Score, score_tables
from emqlang.evolve.history import Entry
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.expr import Expr
from emqlang.grammar.program import parse
from emqlang.quant.tables.table import load
from emqlang.tasks.truth import truth_of

ENOUGH = 100  # rows; of fewer, a search finds programs that rank them by chance


def held_out(
    arena: Arena, settings: SearchSettings, options: EvaluationOptions, entries: Sequence[Entry]
) -> dict[int, Score]:
    """Program -> its score on the held-out rows of the arena's tables, by the search's own rule.

    Empty where there are no such rows or too few to rank, and with the authors' formulas, whose
    programs a text does not hold.
    """
    if options.split == "all" or settings.semantics == "paper":
        return {}
    rows = [load(name).split("heldout") for name in options.tables]
    benchmarks = [
        replace(
            one,
            choices=table.choices,
            truth=truth_of(table, options.by).values,
            strata=table.strata,
        )
        for one, table in zip(arena.benchmarks, rows, strict=True)
    ]
    unseen = Arena(benchmarks, f"{arena.fingerprint} held out", arena.cache)
    forms = {entry.number: form for entry in entries if (form := _form(entry.text)) is not None}
    if not forms:
        return {}
    tables = unseen.tables([*forms.values()])
    try:
        scores = score_tables(unseen, tables, Combine(settings.combine), either_sign=False)
    except EmqError:  # E406
        return {}
    return dict(zip(forms, scores, strict=True))


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
