"""What candidates are scored on: benchmarks, each with a table's rows and its network's statistics.

A search is given its arena from outside, which knows networks and tables; here they are arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.cache import Cache
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr
from emqlang.scores.correlation import RATIOS, Array, correlation, count, parts
from emqlang.scores.pipeline import Scores, score, tabulate
from emqlang.scores.ranks import ranks
from emqlang.scores.table import Group, ScoreTable, totals

Ints = NDArray[np.int64]
SHARED = 32 << 20  # bytes of one benchmark's totals that programs share


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One table's configurations and the statistics of its network.

    choices  (rows, groups): columns of the score table
    truth    (rows,): higher is better
    strata   (rows,): rows are ranked within each, and correlations are means over them; or None
    shapes   of the layers' weights, for formulas that need more than values
    """

    name: str
    statistics: Statistics
    groups: Sequence[Group]
    choices: Ints
    truth: Array
    shapes: Sequence[tuple[int, ...]] = ()
    tied: str = "auto"
    strata: Ints | None = None
    _known: Cache = field(default_factory=lambda: Cache(SHARED), init=False, repr=False)

    @cached_property
    def bits(self) -> Array:
        """Weight bits (choices,)."""
        return np.array([float(choice.weight_bits) for choice in self.statistics.choices])

    @cached_property
    def bit_sums(self) -> Array:
        """S (groups, choices) of the sum of bits, which says nothing of the network."""
        return np.tile(self.bits, (len(self.groups), 1))

    @cached_property
    def _tops(self) -> list[list[tuple[NDArray[np.intp], Array]]]:
        """For each ratio and stratum, the truly best rows and the ranks of their truth."""
        each = parts(self.strata, len(self.truth))
        orders = [rows[np.argsort(-self.truth[rows], kind="stable")] for rows in each]
        tops = [[order[: count(ratio, len(order))] for order in orders] for ratio in RATIOS]
        return [[(best, ranks(self.truth[best])) for best in rows] for rows in tops]

    def totals(self, scores: Array) -> Array:
        """Scores (programs, rows) of all configurations, from S (programs, groups, choices)."""
        return totals(scores, self.choices)

    def of_rows(self, scored: Sequence[Scores]) -> Array:
        """Scores (programs, rows), whether programs separate or not.

        NaN for a program with a choice under which it is not finite.
        """
        return np.array([self._of_rows(each) for each in scored])

    def _of_rows(self, scores: Scores) -> Array:
        if not scores.finite:
            return np.full(len(self.truth), np.nan)
        if isinstance(scores, ScoreTable):
            return scores.totals(self.choices)
        return scores.totals(self.choices, self._known)

    def rho(self, totals: Array) -> Array:
        """Spearman's correlation (programs, ratios) over the truly best rows, ranked anew."""
        columns = [
            [correlation(ranks(totals[:, rows]), of_truth) for rows, of_truth in each]
            for each in self._tops
        ]
        means = [one[0] if len(one) == 1 else np.mean(one, axis=0) for one in columns]
        return np.stack(means, axis=-1)

    def sample(self, rows: int, random: np.random.Generator) -> Benchmark:
        """Rows drawn without replacement: the paper's fitness. Raises E406 if there are fewer."""
        size = count(rows / len(self.truth), len(self.truth))
        chosen = random.choice(len(self.truth), size, replace=False)
        strata = None if self.strata is None else self.strata[chosen]
        return replace(self, choices=self.choices[chosen], truth=self.truth[chosen], strata=strata)


class ArenaSource(Protocol):
    """Opens an arena, also in other processes, to which it travels as names and paths."""

    def open(self) -> Arena: ...


@dataclass(frozen=True, eq=False)
class Arena:
    """Benchmarks that make one fitness together. `fingerprint` names all that scores depend on."""

    benchmarks: Sequence[Benchmark]
    fingerprint: str
    cache: Cache = field(default_factory=Cache)

    def tables(self, programs: Sequence[Expr]) -> list[Array]:
        """For each benchmark, S (programs, groups, choices) of canonical programs that separate."""
        tables = []
        for one in self.benchmarks:
            scored = tabulate(programs, one.statistics, one.groups, one.tied, self.cache)
            tables.append(np.array([table.scores for table in scored]))
        return tables

    def score(self, programs: Sequence[Expr]) -> list[Array]:
        """For each benchmark, the scores of its rows, as `Benchmark.of_rows` has them, of canonical
        programs. Those on one network's statistics are computed once."""
        scored: dict[int, Sequence[Scores]] = {}
        for one in self.benchmarks:
            if (network := id(one.statistics)) not in scored:
                settings = one.groups, one.tied, self.cache
                scored[network] = score(programs, one.statistics, *settings)
        return [one.of_rows(scored[id(one.statistics)]) for one in self.benchmarks]

    def open(self) -> Arena:
        """An arena in memory is its own source."""
        return self
