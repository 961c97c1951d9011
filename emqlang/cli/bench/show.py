"""`emqlang bench show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emqlang.cli.base import declare
from emqlang.cli.options import count, partial_table, shown, table

if TYPE_CHECKING:
    from emqlang.tasks.bench import BestRows


@declare(
    "show",
    "emqlang bench show resnet18-fmnist-all",
    "emqlang bench show resnet18-fmnist-inner --rows 5 --json",
)
@table
@count("--rows", default=20, help="How many rows, the best first.")
@partial_table
@shown("bench")
def command(name: str, rows: int, partial: bool) -> BestRows:
    """Print the rows of a table, the most accurate first."""
    from emqlang.tasks import bench

    return bench.best_rows(name, rows, partial=partial)
