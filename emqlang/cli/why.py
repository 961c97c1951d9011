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
    """Say what became of a program: scored, or on which rung of the reject ladder it was caught."""
    from emqlang.evolve.history import entry, of_program
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import evolve as runs

    ledger = Ledger.open(run, read_only=True)
    found = (
        entry(ledger, int(what))
        if what.isdecimal()
        else of_program(ledger, library.find_one(what).elaborated)
    )
    if found is None:
        render.note("the run has never come upon this program")
        ctx.exit(EXIT_NO)
    runs.entries_json("why", [found]) if as_json else runs.why(found)
