"""`emqlang ops`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import ops, render


@declare("ops", "emqlang ops", "emqlang ops --paper", "emqlang ops --json")
@click.option("--paper", is_flag=True, help="The paper's 28 names, and what they stand for here.")
@as_json
def command(paper: bool, as_json: bool) -> None:
    """List the ops and the statistics.

    Ops are total: where mathematics has no value, the one under `protection` holds.
    """
    if as_json:
        render.json_object(ops.paper_record() if paper else ops.record())
    elif paper:
        ops.paper_screen()
    else:
        ops.screen()
