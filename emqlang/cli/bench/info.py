"""`emqlang bench info`."""

from __future__ import annotations

from emqlang.cli.base import declare
from emqlang.cli.options import as_json, partial_table, table


@declare(
    "info",
    "emqlang bench info resnet18-fmnist-all",
    "emqlang bench info resnet18-fmnist-inner --json",
)
@table
@partial_table
@as_json
def command(name: str, partial: bool, as_json: bool) -> None:
    """Say what a table is, and how well anything could rank it.

    Ceilings are Spearman's correlations over the best 20 %, 50 % and all rows: of one half of the test images with the other,
    of rows built again with something changed, and of the best sum of a score for each layer and choice.
    """
    from emqlang.quant.tables.table import load
    from emqlang.tasks.truth import ceilings
    from emqlang.views import bench

    found = load(name, partial=partial)
    (bench.info_json if as_json else bench.info_screen)(found, list(ceilings(found)))
