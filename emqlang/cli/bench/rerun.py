"""`emqlang bench rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.bench.build import note_goes_on
from emqlang.cli.numbers import POSITIVE, SEED
from emqlang.cli.options import count, workers
from emqlang.cli.outputs import claim
from emqlang.tasks.outputs import Output
from emqlang.views import render, ticker

RERUN = Output(finished=())  # a rerun is added to a table


@declare(
    "rerun",
    "emqlang bench rerun mine.table --name seed1 --seed 1 --rows 24",
    "emqlang bench rerun mine.table --name images1 --data loaders.py:draw1",
    kept=lambda params: "measured rows are kept, and the same command goes on from them",
)
@click.argument(
    "path", metavar="TABLE", type=click.Path(dir_okay=False, exists=True, path_type=Path)
)
@click.option("--name", required=True, metavar="TEXT", help="Name of the rerun in the table.")
@count("--rows", default=100, help="How many rows, the first that were drawn.")
@click.option("--seed", type=SEED, help="Another seed.")
@click.option("--data", metavar="WHAT", help="Other calibration images, as --data of `build`.")
@click.option("--calib-images", type=POSITIVE, help="Another number of calibration images.")
@workers
def command(path: Path, name: str, rows: int, workers: int, backend: str, **options: Any) -> None:
    """Build some rows again with something changed, and keep them in the table.

    `bench info` then says how much that moves. Interrupted, it goes on when run again.
    """
    from emqlang.quant.tables.build import rerun
    from emqlang.quant.tables.ledger import Ledger
    from emqlang.tasks.workers import Workers

    changes = {option: value for option, value in options.items() if value is not None}
    with claim(RERUN, path), ticker.progress() as progress:
        note_goes_on(len(Ledger(path).measured(name)), rows)
        measured = rerun(path, rows, name, Workers(workers, backend).run, progress, **changes)
    render.note(f"{measured:,} rows measured again in {path}")
