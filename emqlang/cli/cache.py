"""`emqlang cache`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import render


@declare("cache", "emqlang cache info", "emqlang cache info --json", "emqlang cache clear")
@click.argument(
    "action", metavar="[info|clear]", type=click.Choice(["info", "clear"]), default="info"
)
@as_json
def command(action: str, as_json: bool) -> None:
    """Show or clear the cached statistics."""
    from emqlang.quant.statistics import cache

    usage = cache.info() if action == "info" else cache.clear()
    directory, files, size = str(usage.directory), usage.files, usage.bytes
    if as_json:
        counts = {"directory": directory, "files": files, "bytes": size}
        cleared = action == "clear"
        render.json_object({"schema": "emqlang.cache/1", **counts, "cleared": cleared})
    elif action == "info":
        render.fields([("directory", directory), ("files", f"{files:,}"), ("bytes", f"{size:,}")])
    else:
        render.note(f"removed {files:,} files, {size:,} bytes")
