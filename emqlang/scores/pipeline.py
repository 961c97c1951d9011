"""The way of a proxy from its text to scores, one line per step.

Whatever scores goes this way: `eval`, `rank`, `assign`, `evolve`, the REPL and the Python API.
`emqlang show --stage tree|kinds|canonical|plan` shows what the steps make of a program.

text           log(abs(grad_synflow)) * sqrt(mean(abs(w)))
parse          tokens, a syntax tree, an expression with its kinds checked, and what is meant by
               it: one value per layer, dependent on the choice (grammar/program.py)
canonical      one expression for all spellings of the program (grammar/canonical/form.py); the
               statistics that it reads, `inputs(form)`, are collected by the caller
without_bits   Q, where the program is bits * Q
compile        planning form, by the passes of compiler/form.py; then common parts once, and
               reductions by depth (compiler/plan.py)
run            reductions lowered to tile programs and evaluated, with arithmetic between them:
               values[program, choice, layer] (compiler/run.py)
ScoreTable     S[group, choice], by how tied layers make one score (scores/table.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.canonical.form import multiply
from emqlang.grammar.expr import Expr, inputs, literal, statistic
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.program import Program, parse
from emqlang.scores.table import Group, ScoreTable, check_tied

Proxy = str | Program | Expr

_BITS, _ZERO = statistic("bits"), literal(0)


def tabulate(
    proxies: Sequence[Proxy],
    statistics: Statistics,
    groups: Sequence[Group],
    tied: str = "auto",
    cache: Cache | None = None,
    threads: int | None = None,
    unmeasured: Mapping[str, Mapping[str, str]] | None = None,
) -> list[ScoreTable]:
    """Score tables of proxies, evaluated together.

    proxies     texts; programs, as the command line reads them before it loads a network; or
                canonical expressions, as the search makes them
    statistics  at least those that the canonical forms read
    tied        a key of TIED, or `auto`: main for a bit-weighted program, which is a sensitivity,
                sum for any other, which is a loss
    unmeasured  statistic -> layer -> why it could not be measured there
    Raises E1xx and E2xx for a text, E403 for another word in `tied`.
    """
    check_tied(tied)
    programs = [parse(proxy) if isinstance(proxy, str) else proxy for proxy in proxies]
    forms = [program.canonical if isinstance(program, Program) else program for program in programs]
    weighted = [without_bits(form) for form in forms]
    plan = compile([*forms, *(q or form for q, form in zip(weighted, forms, strict=True))])
    values, q_values = np.split(run(plan, statistics, cache, threads), 2)
    layers, choices, groups = tuple(statistics.layers), tuple(statistics.choices), tuple(groups)
    return [
        ScoreTable(
            layers=layers,
            choices=choices,
            groups=groups,
            tied=("sum" if q is None else "main") if tied == "auto" else tied,
            values=values[row].T,
            q=None if q is None else q_values[row, 0],
            of_shape=all(INPUTS[name].of_shape for name in inputs(form)),
            unknown=_unknown(form, unmeasured or {}),
        )
        for row, (form, q) in enumerate(zip(forms, weighted, strict=True))
    ]


def _unknown(form: Expr, unmeasured: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Layer -> why its value of this program means nothing."""
    names = [name for name in inputs(form) if name in unmeasured]
    return {layer: reason for name in names for layer, reason in unmeasured[name].items()}


def without_bits(form: Expr) -> Expr | None:
    """Canonical Q of a canonical program `bits * Q`; None if the choice changes more than that.

    0 is `bits * 0`.
    """
    rest, factors = form, list[Expr]()
    if rest == _ZERO:
        return rest
    while rest.op == "mul":
        rest, last = rest.args
        factors.append(last)
    factors = [rest, *reversed(factors)]
    others = [factor for factor in factors if factor != _BITS]
    if len(others) != len(factors) - 1 or any(factor.axes for factor in others):
        return None
    return multiply(others) if others else literal(1)
