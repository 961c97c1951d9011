"""`emqlang equiv`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import Expression, as_json


@declare("equiv", 'emqlang equiv "log(w ** 2)" "2 * log(abs(w))"', "emqlang equiv synflow snip", "emqlang equiv size numel")
@click.argument("first", metavar="A", type=Expression())
@click.argument("second", metavar="B", type=Expression())
@as_json
def command(first: str, second: str, as_json: bool) -> None:
    """Tell whether two expressions are the same proxy; exits with 0 if they are and with 1 if not."""
