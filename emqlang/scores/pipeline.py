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

A program that does not separate takes another way from there on:

compile_joint  the same for what each `total` sums, layer by layer (compiler/joint.py)
terms          values[total][layer, choice, image]
Configuration- the totals of whole configurations, and the rest of the program on those
Score          (scores/joint.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from emqlang.compiler.cache import Cache
from emqlang.compiler.joint import above_layers, compile_joint, terms
from emqlang.compiler.kernels import TILE
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.canonical.form import multiply
from emqlang.grammar.diagnostics import error
from emqlang.grammar.expr import Expr, inputs, literal, statistic, walk
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.levels import CONFIGURATION
from emqlang.grammar.program import Program, parse
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.table import Group, ScoreTable, check_tied, tie

Proxy = str | Program | Expr
Scores = ScoreTable | ConfigurationScore
Unmeasured = Mapping[str, Mapping[str, str]]

_BITS, _ZERO = statistic("bits"), literal(0)


def tabulate(
    proxies: Sequence[Proxy],
    statistics: Statistics,
    groups: Sequence[Group],
    tied: str = "auto",
    cache: Cache | None = None,
) -> list[ScoreTable]:
    """Score tables of proxies that separate; the arguments are those of `score`.

    Raises E410 for one that does not, and what `score` raises.
    """
    programs = [parse(proxy) if isinstance(proxy, str) else proxy for proxy in proxies]
    for program in programs:
        check_separable(program)
    found = score(programs, statistics, groups, tied, cache)
    return [scores for scores in found if isinstance(scores, ScoreTable)]


def check_separable(proxy: Program | Expr) -> None:
    """Raises E410 for a program whose score is no sum over layers."""
    if _form(proxy).level == CONFIGURATION:
        name = proxy.name or proxy.text if isinstance(proxy, Program) else ""
        message = (f"'{name}'" if name else "the program") + " does not separate"
        help = "`emqlang eval`, `rank`, `assign` and `quantize` take it"
        raise error("E410", f"{message}: its score is no sum over layers", help)


def score(
    proxies: Sequence[Proxy],
    statistics: Statistics,
    groups: Sequence[Group],
    tied: str = "auto",
    cache: Cache | None = None,
    threads: int | None = None,
    unmeasured: Unmeasured | None = None,
) -> list[Scores]:
    """The scores of proxies, evaluated together: a table of each that separates.

    proxies     texts; programs, as the command line reads them before it loads a network; or
                canonical expressions, as the search makes them
    statistics  at least those that the canonical forms read
    tied        a key of TIED, or `auto`: main for a bit-weighted program, which is a sensitivity,
                sum for any other, which is a loss, and for the totals of one that does not separate
    unmeasured  statistic -> layer -> why it could not be measured there
    Raises E1xx and E2xx for a text, E403 for another word in `tied`.
    """
    check_tied(tied)
    forms = [_form(parse(proxy) if isinstance(proxy, str) else proxy) for proxy in proxies]
    joint = [form for form in forms if form.level == CONFIGURATION]
    plain = [form for form in forms if form.level != CONFIGURATION]
    settings = (statistics, tuple(groups), tied, cache, threads, unmeasured or {})
    tables: Iterator[Scores] = iter(_tables(plain, *settings) if plain else ())
    others: Iterator[Scores] = iter(_joint(joint, *settings) if joint else ())
    return [next(others if form.level == CONFIGURATION else tables) for form in forms]


def _form(proxy: Program | Expr) -> Expr:
    return proxy.canonical if isinstance(proxy, Program) else proxy


def _tables(
    forms: Sequence[Expr],
    statistics: Statistics,
    groups: tuple[Group, ...],
    tied: str,
    cache: Cache | None,
    threads: int | None,
    unmeasured: Unmeasured,
) -> list[ScoreTable]:
    weighted = [without_bits(form) for form in forms]
    plan = compile([*forms, *(q or form for q, form in zip(weighted, forms, strict=True))])
    values, q_values = np.split(run(plan, statistics, cache, threads), 2)
    return [
        ScoreTable(
            layers=tuple(statistics.layers),
            choices=tuple(statistics.choices),
            groups=groups,
            tied=("sum" if q is None else "main") if tied == "auto" else tied,
            values=values[row].T,
            q=None if q is None else q_values[row, 0],
            of_shape=all(INPUTS[name].of_shape for name in inputs(form)),
            unknown=_unknown(form, unmeasured),
        )
        for row, (form, q) in enumerate(zip(forms, weighted, strict=True))
    ]


def _joint(
    forms: Sequence[Expr],
    statistics: Statistics,
    groups: tuple[Group, ...],
    tied: str,
    cache: Cache | None,
    threads: int | None,
    unmeasured: Unmeasured,
) -> list[ConfigurationScore]:
    plan, tied = compile_joint(forms), "sum" if tied == "auto" else tied
    values = terms(plan, statistics, cache, threads)
    with np.errstate(all="ignore"):  # what is not finite is reported as problems
        of_groups = {total: tie(value, groups, tied) for total, value in values.items()}
    for summed in of_groups.values():
        summed[~np.isfinite(summed)] = np.nan
    images = statistics.offsets[Kind.IMAGE][1] if Kind.IMAGE in statistics.offsets else 1
    if images > TILE:
        message = f"{images:,} images and label draws are more than the {TILE:,} that fit"
        raise error("E403", message, "take fewer: --stat-images, --label-draws")
    scores: list[ConfigurationScore] = []
    for form, program in zip(forms, plan.programs, strict=True):
        read = [node for node in walk([program], above_layers) if node.op == "total"]
        bad = np.any([~np.isfinite(values[total]).all(axis=2) for total in read], axis=0)
        scores.append(
            ConfigurationScore(
                layers=tuple(statistics.layers),
                choices=tuple(statistics.choices),
                groups=groups,
                tied=tied,
                program=program,
                terms={total: of_groups[total] for total in read},
                images=images,
                broken=bad,
                unknown=_unknown(form, unmeasured),
            )
        )
    return scores


def _unknown(form: Expr, unmeasured: Unmeasured) -> dict[str, str]:
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
