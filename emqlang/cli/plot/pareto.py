"""`emqlang plot pareto`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.options import picture
from emqlang.cli.words import Expression, Words, table_names
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, Diagnostic, error
from emqlang.views import render, ticker


@declare(
    "pareto",
    "emqlang plot pareto fisher_length emq --table resnet18-fmnist-edge --out pareto.svg",
    "emqlang assign --sweep --json > front.json; emqlang plot pareto front.json -o front.png",
    kept=cached,
)
@click.argument("words", metavar="[EXPR|FRONT.json...]", type=Expression(), nargs=-1)
@click.option(
    "--table",
    metavar="TABLE",
    type=Words("table", table_names),
    default="resnet18-fmnist-all",
    show_default=True,
    help="A benchmark table's name or file.",
)
@picture
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], table: str, out: Path) -> None:
    """Draw accuracy over size of a table's rows, and those that each proxy prefers (Figure 5).

    A proxy prefers the rows of its highest score within each of the table's size budgets; regret
    is what they lose against the best ones, in points. EXPR is a text, a library name,
    file.emq:name, or - for stdin.

    FRONT.json is what `assign --sweep --json` or `front --json` printed: its score over the cost,
    and uniform bits beside it.
    """
    from emqlang.quant.tables.table import load
    from emqlang.tasks.fronts import read_front
    from emqlang.tasks.plot import pareto
    from emqlang.tasks.workbench import WorkbenchOptions
    from emqlang.views.figures import canvas, front
    from emqlang.views.figures import pareto as figure

    canvas.check(out)
    problems: Sequence[Diagnostic] = ()
    files = [word for word in words if word.endswith(".json")]
    if files and len(files) < len(words):
        message = "proxies of a table and fronts from files are two pictures"
        raise error("E403", message, "give the one or the other")
    if files:
        canvas.save(front.draw([read_front(Path(file)) for file in files]), out)
    else:
        programs = library.find_all(words)
        render.diagnostics(warning for program in programs for warning in program.warnings)
        with ticker.progress() as progress:
            found = pareto(load(table), programs, WorkbenchOptions(), progress)
        render.diagnostics((*found.notices, *found.problems))
        canvas.save(figure.draw(found), out)
        problems = found.problems
    render.note(f"wrote {out}")
    ctx.exit(EXIT_NOT_FINITE if problems else EXIT_OK)
