"""`emqlang bench info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emqlang.cli.base import declare
from emqlang.cli.options import partial_table, shown, table

if TYPE_CHECKING:
    from emqlang.tasks.bench import Info


@declare(
    "info",
    "emqlang bench info resnet18-fmnist-all",
    "emqlang bench info resnet18-fmnist-inner --json",
)
@table
@partial_table
@shown("bench")
def command(name: str, partial: bool) -> Info:
    """Say what a table is, and how well anything could rank it.

    Ceilings are Spearman's correlations over the best 20 %, 50 % and all rows: of one half of the
    test images with the other, of rows built again with something changed, and of the best sum of a
    score for each layer and choice.
    """
    from emqlang.tasks import bench

    return bench.info(name, partial=partial)
