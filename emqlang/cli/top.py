"""`emqlang top`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import POSITIVE
from emqlang.cli.options import emq_file, run_folder, shown

if TYPE_CHECKING:
    from emqlang.evolve.history import Programs


@declare(
    "top",
    "emqlang top runs/evolve-1",
    "emqlang top runs/evolve-1 --where 'nodes <= 8 and cost < 3' --count 5",
)
@run_folder
@click.option(
    "--where",
    metavar="CONDITION",
    default="",
    help="A condition on id, nodes, cost (0 free to 4), fitness, island, step, repeats.",
)
@click.option("--count", type=POSITIVE, default=20, show_default=True, help="How many.")
@emq_file
@shown("history")
def command(run: Path, where: str, count: int, emq: Path | None) -> Programs:
    """Print the best programs of a run."""
    from emqlang.evolve.history import top
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history

    ledger = Ledger(run, read_only=True)
    programs = top(ledger, count, where)
    if emq is not None:
        history.write_emq(emq, ledger, programs)
    return programs
