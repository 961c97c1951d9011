"""`emqlang bench validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emqlang.cli.base import declare
from emqlang.cli.options import shown
from emqlang.cli.words import Words, table_names

if TYPE_CHECKING:
    from emqlang.tasks.bench import Verdicts


@declare(
    "validate",
    "emqlang bench validate resnet18-fmnist-all",
    "emqlang bench validate mine.table --network",
)
@click.argument(
    "names", metavar="TABLE...", nargs=-1, required=True, type=Words("table", table_names)
)
@click.option(
    "--network", is_flag=True, help="Load the network, too, and check that it is the table's."
)
@shown("bench")
def command(names: tuple[str, ...], network: bool) -> Verdicts:
    """Check tables for damage, edits, missing rows and, with --network, for another network."""
    from emqlang.tasks import bench

    return bench.validate(names, network=network)
