"""`emqlang grammar`."""

from __future__ import annotations

from importlib.resources import files

from emqlang.cli.base import declare
from emqlang.views import render


@declare("grammar", "emqlang grammar", "emqlang grammar > emq.lark")
def command() -> None:
    """Print the grammar that texts are parsed with, in Lark's notation."""
    render.raw(files("emqlang.grammar").joinpath("emq.lark").read_text(encoding="utf-8"))
