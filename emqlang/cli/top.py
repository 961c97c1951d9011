"""`emqlang top`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, as_json, emq_file, run_folder
from emqlang.views import render


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
    help="Of id, nodes, cost (0 free to 4), fitness, island, step, repeats.",
)
@click.option("--count", type=POSITIVE, default=20, show_default=True, help="How many.")
@emq_file
@as_json
def command(run: Path, where: str, count: int, emq: Path | None, as_json: bool) -> None:
    """Print the best programs of a run."""
    from emqlang.evolve.history import top
    from emqlang.evolve.ledger import Ledger
    from emqlang.store import write_atomically
    from emqlang.views import evolve as runs

    ledger = Ledger.open(run, read_only=True)
    found = top(ledger, count, where)
    if emq is not None:
        write_atomically(
            emq, lambda part: part.write_text(runs.as_emq(ledger, found), encoding="utf-8")
        )
        render.note(f"{len(found)} programs in {emq}")
    runs.entries_json("top", found) if as_json else runs.entries(found)
