"""Results as figures: `emq.plot`, and the method `plot` of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emqlang.api import arguments
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.evolve.history import Programs
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EmqError, error
from emqlang.grammar.program import Program
from emqlang.quant.ptq.recipe import Recipe
from emqlang.quant.tables.table import Table
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import Scores
from emqlang.scores.table import ScoreTable
from emqlang.tasks import fronts
from emqlang.tasks.evolve import EvolveResult
from emqlang.tasks.plot import WHOLE, advanced, best_so_far, layer_scores, meetings, pareto
from emqlang.tasks.rank import RankResult
from emqlang.tasks.workbench import Workbench
from emqlang.views.figures import (
    bits,
    canvas,
    curves,
    front,
    funnel,
    graph,
    matrix,
    scatter,
    scores,
)
from emqlang.views.figures import pareto as accuracies

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_python
def plot(
    result: Any, *proxies: str | Program, kind: str = "", out: str | Path | None = None
) -> Figure:
    """A matplotlib figure of a result; `result.plot(...)` is the same for those that have it.

    result   what it shows, by its type:
             a text or a program                    its graph
             what `collect` returns, and proxies    scores of each layer; kind='matrix' for how
                                                    layers meet in one that does not separate
             what `score` returns                   scores of each layer
             a table, and proxies if any            accuracy over size, and what proxies prefer
             what `rank` returns, of one table      scores against accuracies
             a recipe                               bits of each layer
             what `front` returns                   fitness over size
             what `search` returns                  the best fitness so far; kind='funnel' for what
                                                    became of its proposals
    out      a file to write as well, SVG or PNG; one that is there is replaced
    No window opens; a notebook shows what is returned. Raises E403 for what has no figure, or where
    matplotlib is missing, E301 for `out`, and what proxies and their statistics raise.
    """
    rows = [row for row in FIGURES if isinstance(result, row[1])]
    if not rows:
        message = f"a {type(result).__name__} has no figure"
        raise error("E403", message, "`help(emqlang.plot)` says what has one")
    chosen = [row for row in rows if kind in ("", row[0])]
    if not chosen:
        raise error("E403", f"kind is '{kind}'", f"one of {', '.join(row[0] for row in rows)}")
    _, _, draw, takes = chosen[0]
    if proxies and not takes:
        message = f"the figure of a {type(result).__name__} takes no proxies"
        raise error("E403", message, "leave them out")
    if out is not None:
        canvas.check(Path(out))
    figure: Figure = draw(result, _programs(proxies))
    if out is not None:
        canvas.save(figure, Path(out))
    return figure


def _programs(proxies: Sequence[str | Program]) -> list[Program]:
    for each in proxies:
        arguments.check(proxy=each)
    found = (library.find(each) if isinstance(each, str) else [each] for each in proxies)
    return [program for programs in found for program in programs]


def _graph(result: str | Program, _: Sequence[Program]) -> Figure:
    program = library.find_one(result) if isinstance(result, str) else result
    return graph.draw(program.elaborated, program.name or program.text)


def _layers(bench: Workbench, programs: Sequence[Program]) -> Figure:
    if not programs:
        raise error("E403", "there is no proxy to draw", "emq.plot(statistics, 'fisher_length')")
    found = layer_scores(bench, programs)
    warn(found.diagnostics)
    return scores.draw(found.network, found.scores)


def _scores(table: Scores, _: Sequence[Program]) -> Figure:
    if (problem := table.problem) is not None:
        raise EmqError(problem)
    return scores.draw("", [("", table)])


def _matrix(bench: Workbench, programs: Sequence[Program]) -> Figure:
    if len(programs) > 1:
        raise error(
            "E403", "a matrix is of one proxy", f"emq.plot(statistics, '{WHOLE}', kind='matrix')"
        )
    found = meetings(bench, programs[0] if programs else library.LIBRARY[WHOLE])
    warn(found.diagnostics)
    return matrix.draw(found)


def _table(table: Table, programs: Sequence[Program]) -> Figure:
    found = pareto(table, programs)
    warn(found.notices)
    if found.problems:
        raise EmqError(*found.problems)
    return accuracies.draw(found)


def _ranks(result: RankResult, _: Sequence[Program]) -> Figure:
    if len(result.rankings) != 1:
        message = f"these are ranks on {len(result.rankings)} tables"
        raise error("E403", message, "rank on one of them")
    return scatter.draw(result.rankings[0])


def _curve(result: EvolveResult, _: Sequence[Program]) -> Figure:
    found = best_so_far([result.ledger.folder])
    return curves.draw(found.curves, found.judged)


def _funnel(result: EvolveResult, _: Sequence[Program]) -> Figure:
    return funnel.draw(str(result.ledger.folder), advanced(result.ledger))


def _bits(recipe: Recipe, _: Sequence[Program]) -> Figure:
    return bits.draw([(recipe.model.name, recipe)])


Draw = Callable[[Any, Sequence[Program]], Any]
# kind, what has it, how it is drawn, and whether it takes proxies; the first that fits is taken
FIGURES: Final[tuple[tuple[str, tuple[type[Any], ...], Draw, bool], ...]] = (
    ("graph", (str, Program), _graph, False),
    ("scores", (Workbench,), _layers, True),
    ("matrix", (Workbench,), _matrix, True),
    ("scores", (ScoreTable, ConfigurationScore), _scores, False),
    ("pareto", (Table,), _table, True),
    ("scatter", (RankResult,), _ranks, False),
    ("front", (Programs,), lambda one, _: front.draw([fronts.of_programs(one)]), False),
    ("curves", (EvolveResult,), _curve, False),
    ("funnel", (EvolveResult,), _funnel, False),
    ("bits", (Recipe,), _bits, False),
)
