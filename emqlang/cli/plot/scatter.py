"""`emqlang plot scatter`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.options import expressions, ground_truth, picture
from emqlang.cli.words import Words, table_names
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK
from emqlang.views import render, ticker


@declare(
    "scatter",
    "emqlang plot scatter fisher_length emq --table vgg-fmnist-all --out scatter.svg",
    "emqlang plot scatter 'mean(abs(w))' --by loss -o scatter.png",
    kept=cached,
)
@expressions
@click.option(
    "--table",
    metavar="TABLE",
    type=Words("table", table_names),
    default="resnet18-fmnist-all",
    show_default=True,
    help="A benchmark table's name or file.",
)
@ground_truth
@picture
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], table: str, by: str, out: Path) -> None:
    """Draw each proxy's score against the accuracy of every row of a table (Figure 3).

    EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    from emqlang.grammar import library
    from emqlang.tasks.rank import RankOptions, plotted
    from emqlang.tasks.workbench import WorkbenchOptions
    from emqlang.views.figures import canvas, scatter

    canvas.check(out)
    programs = library.find_all(words)
    render.diagnostics(warning for program in programs for warning in program.warnings)
    with ticker.progress() as progress:
        ranking = plotted(programs, table, RankOptions(by=by), WorkbenchOptions(), progress)
    render.diagnostics((*ranking.notices, *ranking.problems))
    canvas.save(scatter.draw(ranking), out)
    render.note(f"wrote {out}")
    ctx.exit(EXIT_NOT_FINITE if ranking.problems else EXIT_OK)
