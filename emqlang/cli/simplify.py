"""`emqlang simplify`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import SECONDS
from emqlang.cli.options import expression
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "simplify",
    'emqlang simplify "inv(inv(mean(w)))"',
    'emqlang simplify --trace "log(square(w)) / 2"',
    "emqlang simplify --latex emq",
)
@expression
@click.option(
    "--trace", is_flag=True, help="Show each step, with the rule or the normal form that made it."
)
@click.option("--latex", is_flag=True, help="Print LaTeX.")
@click.option("--sympy", "with_sympy", is_flag=True, help="Let sympy try as well.")
@click.option(
    "--seconds",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="Time limit of sympy.",
)
def command(word: str, trace: bool, latex: bool, with_sympy: bool, seconds: float) -> None:
    """Rewrite an expression to its simplest known form.

    Every rule holds for every real value of the statistics, zeros included.
    """
    from emqlang.grammar.canonical.form import Step, canonical
    from emqlang.grammar.proof.algebra import simplify
    from emqlang.grammar.text.latex import latex as typeset
    from emqlang.grammar.text.printer import show

    steps: list[Step] = []
    form = canonical(library.find_one(word).elaborated, trace=steps)
    if trace:
        render.steps((step.rule, show(step.before), show(step.after)) for step in steps)
    if with_sympy:
        form = simplify(form, seconds)
    render.text(typeset(form) if latex else show(form))
