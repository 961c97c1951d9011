"""Benchmark tables as they are read: their best rows, what they are, and whether they are sound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from emqlang.grammar.diagnostics import EXIT_OK, EmqError
from emqlang.quant.tables.shelf import shipped
from emqlang.quant.tables.table import Table, load
from emqlang.scores.correlation import spearman
from emqlang.tasks.truth import Ceiling, ceilings, own_correlation


@dataclass(frozen=True)
class Listing:
    """The tables that come with the package."""

    tables: tuple[Table, ...]


@dataclass(frozen=True)
class BestRows:
    """Positions of a table's rows, the most accurate first."""

    table: Table
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Sequence:
    """Rows of a composed table beside the same rows learned in sequence.

    spearman  correlation of both accuracies
    moved     mean accuracy of those in sequence, minus that of the table's
    """

    rows: int
    spearman: float
    moved: float


@dataclass(frozen=True)
class Info:
    """What a table is, and how well anything could rank it.

    own_bits  group -> Spearman's correlation of its own bits with the accuracy
    sequence  None unless the table is composed
    """

    table: Table
    ceilings: tuple[Ceiling, ...]
    own_bits: Mapping[str, float]
    sequence: Sequence | None


@dataclass(frozen=True)
class Verdicts:
    """Tables by name, or what is wrong with them."""

    tables: Mapping[str, Table | EmqError]

    @property
    def exit_status(self) -> int:
        wrong = [one for one in self.tables.values() if isinstance(one, EmqError)]
        return max((failure.exit_status for failure in wrong), default=EXIT_OK)


def listing() -> Listing:
    return Listing(tuple(load(name) for name in shipped()))


def best_rows(name: str, count: int, *, partial: bool = False) -> BestRows:
    """The first `count` of a table's rows by accuracy. Raises E301, E314."""
    table = load(name, partial=partial)
    order = np.argsort(-table.accuracy, kind="stable")[:count]
    return BestRows(table, tuple(order.tolist()))


def info(name: str, *, partial: bool = False) -> Info:
    """Raises E301, E314."""
    table = load(name, partial=partial)
    own_bits = dict(zip(table.groups, own_correlation(table).tolist(), strict=True))
    return Info(table, tuple(ceilings(table)), own_bits, _sequence(table))


def _sequence(table: Table) -> Sequence | None:
    for rerun in table.reruns:
        if table.spec.composed and "composed" in rerun.changed:
            accuracy = table.accuracy[rerun.rows]
            rho = float(spearman(rerun.accuracy[None], accuracy)[0])
            return Sequence(len(rerun.rows), rho, float(np.mean(rerun.accuracy - accuracy)))
    return None


def validate(names: Iterable[str], *, network: bool) -> Verdicts:
    """Loads each table, and if asked its network, to see whether they belong together."""
    return Verdicts({name: _checked(name, network) for name in names})


def _checked(name: str, network: bool) -> Table | EmqError:
    try:
        table = load(name)
        if network:
            table.check(table.spec.network())
    except EmqError as failure:
        return failure
    return table
