"""`emqlang plot graph`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import expression, picture
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "graph",
    "emqlang plot graph fisher_length --out graph.svg",
    'emqlang plot graph "log(abs(grad_synflow)) * sqrt(mean(abs(w)))" -o graph.png',
    "emqlang plot graph emq --canonical -o canonical.svg",
)
@expression
@click.option("--canonical", is_flag=True, help="The canonical form, which is evaluated.")
@picture
def command(word: str, canonical: bool, out: Path) -> None:
    """Draw a proxy as a graph: operands on the left of what uses them, shared parts once.

    It is drawn as it is meant, with the `mean` and the `bits *` that a text may leave out.
    EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    from emqlang.views.figures import canvas, graph

    canvas.check(out)
    program = library.find_one(word)
    render.diagnostics(program.warnings)
    expr = program.canonical if canonical else program.elaborated
    canvas.save(graph.draw(expr, program.name or program.text), out)
    render.note(f"wrote {out}")
