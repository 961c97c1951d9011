"""`emqlang models`."""

from __future__ import annotations

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.views import models, render


@declare("models", "emqlang models", "emqlang models --json")
@as_json
def command(as_json: bool) -> None:
    """List the networks that have a name.

    Any other module is loaded as package.module:factory or file.py:factory.
    """
    render.json_object(models.record()) if as_json else models.screen()
