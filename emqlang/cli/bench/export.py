"""`emqlang bench export`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import partial_table, table
from emqlang.views import render


@declare(
    "export",
    "emqlang bench export resnet18-fmnist-all --out all.csv",
    "emqlang bench export mine.table --out mine.parquet",
)
@table
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .csv or .parquet.",
)
@partial_table
@click.pass_context
def command(ctx: click.Context, /, name: str, out: Path, partial: bool) -> None:
    """Write a table as CSV or Parquet, with the images that each row gets right."""
    from emqlang.quant.tables.exchange import WRITERS
    from emqlang.quant.tables.table import load

    if (write := WRITERS.get(out.suffix.removeprefix("."))) is None:
        ctx.fail("--out ends in .csv or .parquet")
    found = load(name, partial=partial)
    write(found, out)
    render.note(f"{len(found):,} rows in {out}")
