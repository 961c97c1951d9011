"""What figures draw that no other command works out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emqlang.evolve import history
from emqlang.evolve.history import Curve
from emqlang.evolve.ledger import Ledger, Status
from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.quant.progress import Progress
from emqlang.quant.tables.table import Table
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import Scores
from emqlang.scores.regret import preferred
from emqlang.scores.table import Array
from emqlang.tasks.domains import workbenches
from emqlang.tasks.eval import evaluate
from emqlang.tasks.rank import RankOptions, rank_on
from emqlang.tasks.truth import limits
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

WHOLE: Final = "fisher_whole"  # the proxy whose layers meet, where none is named
MEETS: Final = f"give one that sums over layers, as {WHOLE}: a function of total(...)"
AGAIN: Final = "resume it with `emqlang evolve --resume RUN`"
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
    problems   why proxies were left out
    """

    table: Table
    front: Places
    uniform: Mapping[str, int]
    preferred: tuple[Preference, ...]
    notices: tuple[Diagnostic, ...] = ()
    problems: tuple[Diagnostic, ...] = ()


def pareto(
    table: Table,
    programs: Sequence[Program] = (),
    settings: WorkbenchOptions | None = None,
    progress: Progress | None = None,
) -> Pareto:
    """What proxies prefer among a table's rows; without proxies, the table alone.

    Raises E406 for too few rows, E501 where no proxy has finite scores, and what statistics raise.
    One of several whose scores are not finite is left out, and named among the problems.
    """
    front, uniform = front_of(table), uniform_rows(table)
    if not programs:
        return Pareto(table, front, uniform, ())
    bench = Workbench.of_table(table, settings or WorkbenchOptions(), progress)
    ranking = rank_on(table, bench, programs, RankOptions())
    if not ranking.standings:
        raise EmqError(*ranking.problems)
    found = []
    for one in sorted(ranking.standings, key=lambda one: one.regret):
        chosen = preferred(one.scores[None], table.size, limits(table))[0].any(axis=0)
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(table.size[rows], kind="stable")]
        found.append(Preference(one.name, one.regret, rows))
    return Pareto(table, front, uniform, tuple(found), ranking.notices, ranking.problems)


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


@dataclass(frozen=True)
class BestSoFar:
    """Curves of searches by name; `judged` says what fitness is measured on."""

    curves: tuple[tuple[str, Curve], ...]
    judged: str
    diagnostics: tuple[Diagnostic, ...]


def best_so_far(runs: Sequence[Path]) -> BestSoFar:
    """The curves of runs, finished or not.

    Raises E301, E316, and E403 for a run that has scored nothing yet.
    """
    curves, judged = list[tuple[str, Curve]](), dict[str, None]()
    diagnostics = list[Diagnostic]()
    for run in runs:
        ledger = Ledger(run, read_only=True)
        advanced(ledger)
        judged[judged_on(ledger)] = None
        if not (points := history.curve(ledger)):
            raise error("E403", "the run has scored no program yet", AGAIN, path=str(run))
        curves.append((str(run), points))
        diagnostics += ledger.diagnostics
    where = next(iter(judged)) if len(judged) == 1 else "each on what it was judged on"
    return BestSoFar(tuple(curves), where, tuple(diagnostics))


def judged_on(ledger: Ledger) -> str:
    """What a run's fitness is measured on, in words."""
    options = ledger.options
    tables = ", ".join(Path(name).stem for name in options.tables)
    return f"on {tables}, {options.split} rows by {options.by}"


def advanced(ledger: Ledger) -> Status:
    """Where a run stands. Raises E403 before its first step."""
    if (status := ledger.status()) is None:
        raise error("E403", "the run has had no step yet", AGAIN, path=str(ledger.folder))
    return status


@dataclass(frozen=True, eq=False)
class Meetings:
    """How what a program sums over layers meets, for each of its totals and each choice.

    totals  text of a total -> (choices, groups, groups): the mean over images of the product of
            two groups' terms, over the roots of the means of their squares; NaN where one is 0
    images  that the means are over
    """

    network: str
    name: str
    groups: tuple[str, ...]
    choices: tuple[str, ...]
    totals: Mapping[str, Array]
    images: int
    diagnostics: tuple[Diagnostic, ...]


def meetings(bench: Workbench, program: Program) -> Meetings:
    """The cross-layer matrix, as the score sees it: both layers at the same choice.

    Raises E403 for a program that separates, or whose totals have no value for each image, and
    what evaluating it raises.
    """
    name = program.name or program.text
    if program.separable:
        message = f"'{name}' separates: its score is a sum over layers, and no two meet in it"
        raise error("E403", message, MEETS)
    found = layer_scores(bench, [program])
    ((_, scores),) = found.scores
    assert isinstance(scores, ConfigurationScore)
    totals = {
        show(total): met(terms) for total, terms in scores.terms.items() if terms.shape[-1] > 1
    }
    if not totals:
        message = f"what '{name}' sums over layers has one value for each, not one for each image"
        raise error("E403", message, MEETS)
    if not any(np.isfinite(values).any() for values in totals.values()):
        message = f"what '{name}' sums over layers is 0 in every layer"
        raise error("E501", message, "give other data")
    names = tuple(group.name for group in scores.groups)
    choices = tuple(map(str, scores.choices))
    return Meetings(found.network, name, names, choices, totals, scores.images, found.diagnostics)


def met(terms: Array) -> Array:
    """(choices, groups, groups) of terms (groups, choices, images): means of products, scaled."""
    by_choice = terms.transpose(1, 0, 2)
    products = by_choice @ by_choice.transpose(0, 2, 1) / terms.shape[-1]
    roots = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = products / (roots[:, :, None] * roots[:, None, :])
    return found
