"""`emqlang cache`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import render


@declare("cache", "emqlang cache info", "emqlang cache info --json", "emqlang cache clear")
@click.argument("action", type=click.Choice(["info", "clear"]))
@as_json
def command(action: str, as_json: bool) -> None:
    """Show or clear the cached statistics."""
    from emqlang.quant.statistics import cache

    usage = cache.info() if action == "info" else cache.clear()
    if as_json:
        cleared = action == "clear"
        counts = {
            "directory": str(usage.directory),
            "files": usage.files,
            "bytes": usage.bytes,
            "cleared": cleared,
        }
        render.json_object({"schema": "emqlang.cache/1", **counts})
    elif action == "info":
        render.fields(
            [
                ("directory", str(usage.directory)),
                ("files", f"{usage.files:,}"),
                ("bytes", f"{usage.bytes:,}"),
            ]
        )
    else:
        render.note(f"removed {usage.files:,} files, {usage.bytes:,} bytes")
