"""`emqlang bench list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emqlang.cli.base import declare
from emqlang.cli.options import shown

if TYPE_CHECKING:
    from emqlang.tasks.bench import Listing


@declare("list", "emqlang bench list", "emqlang bench list --json")
@shown("bench")
def command() -> Listing:
    """List the tables that come with the package."""
    from emqlang.tasks import bench

    return bench.listing()
