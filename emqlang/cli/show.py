"""`emqlang show`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import expression
from emqlang.grammar import library
from emqlang.views import render, show


@declare(
    "show",
    'emqlang show "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"',
    "emqlang show --stage plan hawq_v2",
    "emqlang show --stage kinds @proxies.emq:syn",
)
@expression
@click.option(
    "--stage",
    type=click.Choice(list(show.STAGES)),
    default="kinds",
    show_default=True,
    help="Where to look.",
)
def command(word: str, stage: str) -> None:
    """Print what becomes of an expression, stage by stage.

    \b
    tree       the text as it was understood, with the place of every part
    kinds      the elaborated program: values of each part, their sign, their choice
    graph      the canonical program as a graph, with its Weisfeiler-Lehman hash
    canonical  the canonical program and its key
    plan       the passes over memory that evaluate it
    """
    program = library.find_one(word)
    render.diagnostics(program.warnings)
    render.tree(show.STAGES[stage](program))
