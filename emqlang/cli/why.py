"""`emqlang why`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import Expression, as_json, run_folder
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EXIT_NO
from emqlang.views import render


@declare("why", "emqlang why runs/evolve-1 1234", "emqlang why runs/evolve-1 'sum(abs(grad * w))'")
@run_folder
@click.argument("what", metavar="NUMBER|EXPR", type=Expression())
@as_json
@click.pass_context
def command(ctx: click.Context, /, run: Path, what: str, as_json: bool) -> None:
    """Say what became of a program: whether it was scored, and if not, why."""
    from emqlang.evolve import history
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history as view

    ledger = Ledger(run, read_only=True)
    if what.isdecimal():
        entry: history.Entry | None = history.entry(ledger, int(what))
    else:
        entry = history.of_program(ledger, library.find_one(what).elaborated)
    if entry is None:
        render.note("this program never came up in the run")
        ctx.exit(EXIT_NO)
    view.as_json("why", [entry]) if as_json else view.why(entry)
