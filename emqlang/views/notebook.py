"""What a notebook shows of results: their screens, as HTML. Results do not know their views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from emqlang.evolve.history import Programs
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show as text_of
from emqlang.quant.ptq.evaluate import Evaluation
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import Recipe
from emqlang.quant.tables.table import Table
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.table import TIED, Array, ScoreTable
from emqlang.tasks.evolve import EvolveResult
from emqlang.tasks.rank import RankResult
from emqlang.tasks.workbench import Workbench
from emqlang.views import eval as evaluation
from emqlang.views import evaluate, evolve, history, rank, render, show
from emqlang.views.render import Column

BEST: Final = 10  # rows of a table


def _workbench(bench: Workbench) -> None:
    evaluation.network(bench.network, choices=bench.choices)
    render.fields([("statistics", ", ".join(bench.collected))])


def _scores(scores: ScoreTable | ConfigurationScore) -> None:
    joint = isinstance(scores, ConfigurationScore)
    render.fields([("tied layers", TIED[scores.tied]), ("separates", "no" if joint else "yes")])
    if isinstance(scores, ConfigurationScore):
        render.note("what the score gains where one group alone leaves the most bits")
        cells: Array = scores.alone()
    else:
        cells = scores.scores
    columns = [Column("group", style="bold"), *(Column(str(c), "right") for c in scores.choices)]
    texts = [evaluation.numbers(column.tolist()) for column in cells.T]
    names = [group.name for group in scores.groups]
    render.table(columns, zip(names, *texts, strict=True))


def recipe(recipe: Recipe) -> None:
    """What was chosen by what, and each layer's bits."""
    solver = recipe.solver
    score = "" if solver is None or solver.score is None else f"{solver.score:.6g}, {solver.status}"
    budget = ", ".join(f"{name} {text}" for name, text in recipe.budget.items())
    render.fields(
        [
            ("model", recipe.model.name),
            ("proxy", "" if recipe.proxy is None else recipe.proxy.text),
            ("budget", budget),
            ("score", score),
        ]
    )
    columns = [Column("layer", style="bold"), Column("weight bits", "right")]
    columns += [Column("input bits", "right")]
    rows = [
        [name, *(str(scheme.num_bits) if scheme else "float" for scheme in (row.weight, row.input))]
        for name, row in recipe.layers.items()
    ]
    render.table(columns, rows)


def _quantized(quantized: Quantized) -> None:
    recipe(quantized.recipe)


def _program(program: Program) -> None:
    separates = "yes: a sum over layers" if program.separable else "no: it sees layers meet"
    render.fields(
        [
            ("name", program.name),
            ("text", program.text),
            ("canonical", text_of(program.canonical)),
            ("separates", separates),
        ]
    )
    render.tree(show.kinds(program))


def _evaluation(found: Evaluation) -> None:
    render.fields([("images", f"{found.images:,}"), *evaluate.figures(found)])


def _table(table: Table) -> None:
    best = (-table.accuracy).argsort(kind="stable")[:BEST]
    render.fields([("table", f"{table.name}, {len(table):,} rows"), ("below", "the best")])
    columns = [Column("accuracy", "right"), Column("size, bytes", "right"), Column("bits")]
    render.table(
        columns,
        [[f"{table.accuracy[i]:.2%}", f"{table.size[i]:,}", table.config(i)] for i in best],
    )


SCREENS: Final[Mapping[type[Any], Callable[[Any], None]]] = {
    Workbench: _workbench,
    ScoreTable: _scores,
    ConfigurationScore: _scores,
    Recipe: recipe,
    Quantized: _quantized,
    Program: _program,
    Evaluation: _evaluation,
    Table: _table,
    RankResult: rank.screen,
    EvolveResult: evolve.screen,
    Programs: history.programs,
}


def attach() -> None:
    """Gives each kind of result the method that notebooks ask for."""
    for kind, screen in SCREENS.items():
        kind._repr_html_ = lambda value, screen=screen: render.html(lambda: screen(value))
