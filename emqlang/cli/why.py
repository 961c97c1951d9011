"""`emqlang why`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emqlang.cli.base import declare
from emqlang.cli.options import run_folder, shown
from emqlang.cli.words import Expression
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EXIT_NO
from emqlang.views import render

if TYPE_CHECKING:
    from emqlang.evolve.history import Fate


@declare("why", "emqlang why runs/evolve-1 1234", "emqlang why runs/evolve-1 'sum(abs(grad * w))'")
@run_folder
@click.argument("what", metavar="NUMBER|EXPR", type=Expression())
@shown("history")
@click.pass_context
def command(ctx: click.Context, /, run: Path, what: str) -> Fate:
    """Say what became of a program: whether it was scored, and if not, why."""
    from emqlang.evolve.history import Fate, entry, of_program
    from emqlang.evolve.ledger import Ledger

    ledger = Ledger(run, read_only=True)
    if what.isascii() and what.isdecimal():  # of any length
        return Fate(entry(ledger, int(what[:20])), ledger.diagnostics)
    known = of_program(ledger, library.find_one(what).elaborated)
    if known is None:
        render.note("this program never came up in the run")
        ctx.exit(EXIT_NO)
    return Fate(known, ledger.diagnostics)
