"""`emqlang lineage`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json, run_folder


@declare(
    "lineage",
    "emqlang lineage runs/evolve-1 1234",
    "emqlang lineage runs/evolve-1 1234 --json",
)
@run_folder
@click.argument("number", type=int)
@as_json
def command(run: Path, number: int, as_json: bool) -> None:
    """Print where a program comes from: its parents, theirs, and by which operator each was made."""
    from emqlang.evolve import history
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history as view

    generations = list(history.lineage(Ledger(run, read_only=True), number))
    if as_json:
        view.as_json("lineage", [entry for _, entry in generations])
    else:
        view.lineage(generations)
