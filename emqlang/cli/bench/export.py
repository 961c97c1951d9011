"""`emqlang bench export`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import partial_table, table
from emqlang.cli.outputs import output
from emqlang.tasks.outputs import Output
from emqlang.views import render


@declare(
    "export",
    "emqlang bench export resnet18-fmnist-all --out all.csv",
    "emqlang bench export mine.table --out mine.parquet",
)
@table
@output("--out", Output(), "A .csv or .parquet.", required=True)
@partial_table
@click.pass_context
def command(ctx: click.Context, /, name: str, out: Path, partial: bool) -> None:
    """Write a table as CSV or Parquet, with the images that each row gets right."""
    from emqlang.quant.tables import exchange
    from emqlang.quant.tables.table import load

    if (write := exchange.WRITERS.get(out.suffix)) is None:
        ctx.fail("--out ends in .csv or .parquet")
    table = load(name, partial=partial)
    write(table, out)
    render.note(f"{len(table):,} rows in {out}")
