"""`emqlang ops`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import ops as reference
from emqlang.views import render


@declare("ops", "emqlang ops", "emqlang ops --paper", "emqlang ops --json")
@click.option("--paper", is_flag=True, help="The paper's 28 names, and what they stand for here.")
@as_json
def command(paper: bool, as_json: bool) -> None:
    """List the ops and the statistics.

    Ops are total: where mathematics has no value, the one under `protection` holds.
    """
    if as_json:
        render.json_object(reference.paper_record() if paper else reference.language_record())
    elif paper:
        render.table(*reference.paper_table())
        render.note(reference.PAPER_NOTE)
    else:
        render.table(*reference.op_table())
        render.text()
        render.table(*reference.input_table())
