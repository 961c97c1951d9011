"""`emqlang bench list`."""

from __future__ import annotations

from emqlang.cli.base import declare
from emqlang.cli.options import as_json


@declare("list", "emqlang bench list", "emqlang bench list --json")
@as_json
def command(as_json: bool) -> None:
    """List the tables that come with the package."""
    from emqlang.quant.tables.shelf import shipped
    from emqlang.quant.tables.table import load
    from emqlang.views import bench

    tables = [load(name) for name in shipped()]
    (bench.list_json if as_json else bench.list_screen)(tables)
