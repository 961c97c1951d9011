"""What figures draw that no other command works out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.program import Program
from emqlang.quant.progress import Progress
from emqlang.quant.tables.table import Table
from emqlang.scores.pipeline import Scores
from emqlang.scores.regret import preferred
from emqlang.tasks.domains import workbenches
from emqlang.tasks.eval import evaluate
from emqlang.tasks.rank import RankOptions, rank_on
from emqlang.tasks.truth import limits
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

Places = NDArray[np.intp]  # of rows


@dataclass(frozen=True, eq=False)
class LayerScores:
    """Proxies by name, on one network, each with statistics as its entry says."""

    network: str
    scores: tuple[tuple[str, Scores], ...]
    diagnostics: tuple[Diagnostic, ...]


def layer_scores(bench: Workbench, programs: Sequence[Program]) -> LayerScores:
    """Raises EmqError, E501 among them for scores that are not finite."""
    found = list[tuple[str, Scores]]()
    diagnostics = list[Diagnostic]()
    for program, measured in zip(programs, workbenches(bench, programs), strict=True):
        result = evaluate(measured, [program])
        table = result.scored[0].table
        if (problem := table.problem) is not None:
            raise EmqError(problem)
        found.append((program.name or program.text, table))
        diagnostics += result.diagnostics
    return LayerScores(bench.network.name, tuple(found), tuple(dict.fromkeys(diagnostics)))


@dataclass(frozen=True, eq=False)
class Preference:
    """The rows that a proxy prefers within the size budgets, and its regret in points.

    rows  their places, smallest first, each once: those of the highest score within some budget
    """

    name: str
    regret: float
    rows: Places


@dataclass(frozen=True, eq=False)
class Pareto:
    """Accuracy over size on a table: Figure 5 of the paper.

    front      places of the rows that no other row is both smaller and better than, smallest first
    uniform    choice -> place of the row in which all groups that vary have it
    preferred  of each proxy, the one of the least regret first
    """

    table: Table
    front: Places
    uniform: Mapping[str, int]
    preferred: tuple[Preference, ...]
    diagnostics: tuple[Diagnostic, ...] = ()


def pareto(
    table: Table,
    programs: Sequence[Program] = (),
    settings: WorkbenchOptions | None = None,
    progress: Progress | None = None,
) -> Pareto:
    """What proxies prefer among a table's rows; without proxies, the table alone.

    Raises E406 for too few rows, and what statistics raise. A proxy whose scores are not finite is
    left out, and named among the diagnostics.
    """
    front, uniform = front_of(table), uniform_rows(table)
    if not programs:
        return Pareto(table, front, uniform, ())
    bench = Workbench.of_table(table, settings or WorkbenchOptions(), progress)
    ranking = rank_on(table, bench, programs, RankOptions())
    found = []
    for one in sorted(ranking.standings, key=lambda one: one.regret):
        chosen = preferred(one.scores[None], table.size, limits(table))[0].any(axis=0)
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(table.size[rows], kind="stable")]
        found.append(Preference(one.name, one.regret, rows))
    notices = (*ranking.notices, *ranking.problems)
    return Pareto(table, front, uniform, tuple(found), notices)


def front_of(table: Table) -> Places:
    """Places of the rows that are better than every smaller one, smallest first."""
    order = np.lexsort((-table.accuracy, table.size))
    best = np.maximum.accumulate(table.accuracy[order])
    rises: Places = order[np.concatenate(([True], best[1:] > best[:-1]))]
    return rises


def uniform_rows(table: Table) -> dict[str, int]:
    """Choice -> place of the row in which all groups that vary have it; none where none varies."""
    varying = table.choices[:, (table.choices != table.choices[0]).any(axis=0)]
    if not varying.size:
        return {}
    same = np.flatnonzero((varying == varying[:, :1]).all(axis=1))
    return {str(table.menu[varying[row, 0]]): int(row) for row in same}
