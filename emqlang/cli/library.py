"""`emqlang library`."""

from __future__ import annotations

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import library, render


@declare("library", "emqlang library", "emqlang explain fisher_length", "emqlang library --json")
@as_json
def command(as_json: bool) -> None:
    """List the library's proxies: what each is, what it costs, and what it was made for.

    `emqlang explain NAME` shows one whole.
    """
    render.json_object(library.record()) if as_json else library.screen()
