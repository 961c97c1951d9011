"""`emqlang cache`."""

from __future__ import annotations

import click

from emqlang import render
from emqlang.cli.base import declare
from emqlang.cli.options import as_json


@declare("cache", "emqlang cache info", "emqlang cache info --json", "emqlang cache clear")
@click.argument("action", type=click.Choice(["info", "clear"]))
@as_json
def command(action: str, as_json: bool) -> None:
    """Show or clear the cached statistics."""
