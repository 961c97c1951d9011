"""What candidates are scored on: statistics of networks, configurations of their layers, and what is true of these.

An arena is given to a search from outside, which knows networks and tables; here they are arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from emqlang.compiler.cache import Cache
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr
from emqlang.scores.correlation import RATIOS, Array, correlation, count
from emqlang.scores.table import Group, tabulate

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Court:
    """One table's rows and the statistics of its network.

    choices  (rows, groups): columns of the score table
    truth    (rows,): higher is better
    shapes   of the layers' weights, for formulas that ask for more than values
    """

    name: str
    statistics: Statistics
    groups: Sequence[Group]
    choices: Ints
    truth: Array
    shapes: Sequence[tuple[int, ...]] = ()
    tied: str = "auto"

    @cached_property
    def _tops(self) -> list[tuple[NDArray[np.intp], Array]]:
        """For each ratio, the truly best rows and the ranks of their truth."""
        order = np.argsort(-self.truth, kind="stable")
        rows = [order[: count(ratio, len(order))] for ratio in RATIOS]
        return [(best, rankdata(self.truth[best])) for best in rows]

    def totals(self, scores: Array) -> Array:
        """The scores (programs, rows) of all configurations, from S (programs, groups, choices); as `ScoreTable.totals`."""
        with np.errstate(all="ignore"):
            found: Array = scores[:, np.arange(len(self.groups)), self.choices].sum(-1)
        largest = np.abs(found).max(-1, keepdims=True, initial=0.0)
        scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        with np.errstate(all="ignore"):
            return np.round(found / scale, 12)

    def rho(self, totals: Array) -> Array:
        """Spearman's correlation (programs, ratios) over the truly best rows, ranked anew."""
        columns = [
            correlation(rankdata(totals[:, rows], axis=-1), ranks) for rows, ranks in self._tops
        ]
        return np.stack(columns, axis=-1)

    def sample(self, rows: int, random: np.random.Generator) -> Court:
        """Some of the rows, drawn without replacement: the paper's fitness. Raises E406 where there are fewer."""
        chosen = random.choice(
            len(self.truth), count(rows / len(self.truth), len(self.truth)), replace=False
        )
        return Court(
            self.name,
            self.statistics,
            self.groups,
            self.choices[chosen],
            self.truth[chosen],
            self.shapes,
            self.tied,
        )


@dataclass(frozen=True, eq=False)
class Arena:
    """Courts that judge together. `fingerprint` names all that scores depend on."""

    courts: Sequence[Court]
    fingerprint: str
    cache: Cache = field(default_factory=Cache)

    def tables(self, programs: Sequence[Expr]) -> list[Array]:
        """For each court, S (programs, groups, choices) of canonical programs."""
        found = []
        for court in self.courts:
            tables = tabulate(programs, court.statistics, court.groups, court.tied, self.cache)
            found.append(np.array([table.scores for table in tables]))
        return found

    def cards(self) -> list[Array]:
        """For each court, S of the sum of bits, in whose image a program says nothing of the network."""
        bits = [
            [float(choice.weight_bits) for choice in court.statistics.choices]
            for court in self.courts
        ]
        return [
            np.tile(np.array(own), (len(court.groups), 1))
            for own, court in zip(bits, self.courts, strict=True)
        ]


class Door(Protocol):
    """How an arena is come by in another process: it travels as names and paths, and opens there."""

    def open(self) -> Arena: ...


@dataclass(frozen=True)
class Open:
    """The door of an arena that is there already."""

    arena: Arena

    def open(self) -> Arena:
        return self.arena
