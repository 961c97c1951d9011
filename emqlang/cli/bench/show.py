"""`emqlang bench show`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, as_json, partial_table, table


@declare(
    "show",
    "emqlang bench show resnet18-fmnist-all",
    "emqlang bench show resnet18-fmnist-inner --rows 5 --json",
)
@table
@click.option(
    "--rows", type=POSITIVE, default=20, show_default=True, help="How many, the best first."
)
@partial_table
@as_json
def command(name: str, rows: int, partial: bool, as_json: bool) -> None:
    """Print the rows of a table, the most accurate first."""
    from emqlang.quant.tables.table import load
    from emqlang.views import bench

    (bench.rows_json if as_json else bench.rows_screen)(load(name, partial=partial), rows)
