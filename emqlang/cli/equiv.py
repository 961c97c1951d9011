"""`emqlang equiv`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import SECONDS
from emqlang.cli.options import shown
from emqlang.cli.words import Expression
from emqlang.grammar import library
from emqlang.grammar.proof.equivalence import Identity


@declare(
    "equiv",
    'emqlang equiv "log(w ** 2)" "2 * log(abs(w))"',
    "emqlang equiv synflow snip",
    "emqlang equiv size numel",
)
@click.argument("first", metavar="A", type=Expression())
@click.argument("second", metavar="B", type=Expression())
@click.option(
    "--seconds",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="Time limit of sympy.",
)
@shown("equiv")
def command(first: str, second: str, seconds: float) -> Identity:
    """Tell whether two expressions are the same proxy.

    Exits with 0 if they are, and with 1 if not, or if nothing proves it.

    The answer comes from four levels, each of which is shown: the canonical key, the
    Weisfeiler-Lehman hash of the graph as it is built, a numeric fingerprint, which can only prove
    a difference, and sympy.
    """
    return Identity.of(library.find_one(first), library.find_one(second), seconds)
