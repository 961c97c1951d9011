"""`emqlang top`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, as_json, emq_file, run_folder


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
@as_json
def command(run: Path, where: str, count: int, emq: Path | None, as_json: bool) -> None:
    """Print the best programs of a run."""
    from emqlang.evolve import history
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history as view

    ledger = Ledger(run, read_only=True)
    programs = history.top(ledger, count, where)
    if emq is not None:
        view.write_emq(emq, ledger, programs)
    view.as_json("top", programs) if as_json else view.entries(programs)
