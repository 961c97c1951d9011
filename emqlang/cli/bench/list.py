"""`emqlang bench list`."""

from __future__ import annotations

from emqlang.cli.base import declare
from emqlang.cli.options import as_json


@declare("list", "emqlang bench list", "emqlang bench list --json")
@as_json
def command(as_json: bool) -> None:
    """List the tables that come with the package."""
    from emqlang import bench
    from emqlang.quant.bench.shelf import shipped
    from emqlang.quant.bench.table import load

    tables = [load(name) for name in shipped()]
    (bench.list_json if as_json else bench.list_screen)(tables)
