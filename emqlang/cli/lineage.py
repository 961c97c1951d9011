"""`emqlang lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import Whole
from emqlang.cli.options import run_folder, shown

if TYPE_CHECKING:
    from emqlang.evolve.history import Lineage


@declare(
    "lineage", "emqlang lineage runs/evolve-1 1234", "emqlang lineage runs/evolve-1 1234 --json"
)
@run_folder
@click.argument("number", type=Whole(min=0, largest=2**63 - 1))
@shown("history")
def command(run: Path, number: int) -> Lineage:
    """Print a program's ancestors, and the operator that made each."""
    from emqlang.evolve.history import lineage
    from emqlang.evolve.ledger import Ledger

    return lineage(Ledger(run, read_only=True), number)
