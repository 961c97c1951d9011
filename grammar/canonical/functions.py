"""Functions of products and sums: factors whose sign lets them pass move out of the function.

Each gives None where nothing moves, and the rules of `rules.py` apply instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import copysign, log
from typing import Final

from emqlang.grammar.canonical.literals import power_of
from emqlang.grammar.canonical.normal import (
    Factors,
    Function,
    build,
    leading,
    make,
    negate,
    power,
    product,
    sift,
    split,
    total,
)
from emqlang.grammar.expr import Expr, apply, literal
from emqlang.grammar.signs import NEGATIVE, NONNEGATIVE, POSITIVE


def _abs(x: Expr) -> Expr | None:
    if x.op == "add":
        turns = leading(x) < 0 and x.sign | NONNEGATIVE != NONNEGATIVE
        return make("abs", negate(x)) if turns else None
    coefficient, factors = split(x)
    if _is_bare(coefficient, factors):
        return None
    moved = [(b, e) if e % 1 or e % 2 == 0 else (make("abs", b), e) for b, e in factors]
    return build(abs(coefficient), moved)


def _sign(x: Expr) -> Expr | None:
    if x.op == "add":
        turns = leading(x) < 0 and x.sign & NEGATIVE and x.sign & POSITIVE
        return build(-1.0, [(apply("sign", negate(x)), 1.0)]) if turns else None
    coefficient, factors = split(x)
    if _is_bare(coefficient, factors):
        return None
    moved = [(make("sign", b), 2.0 - e % 2 if e % 1 == 0 else 1.0) for b, e in factors]
    return build(copysign(1.0, coefficient), moved)


def _relu(x: Expr) -> Expr | None:
    coefficient, factors = split(x)
    outside, inside = sift(factors)
    if (not outside and abs(coefficient) == 1) or not inside:
        return None
    rest = make("relu", build(copysign(1.0, coefficient), inside))
    return build(
        abs(coefficient), [*outside, *(split(rest)[1] if rest.op == "mul" else [(rest, 1.0)])]
    )


def _inv(x: Expr) -> Expr | None:
    coefficient, factors = split(x)
    if _is_bare(coefficient, factors) and x.op != "add":
        return None
    return build(power_of(coefficient, -1.0), [(base, -exponent) for base, exponent in factors])


def _log(x: Expr) -> Expr | None:
    """log of powers of one base, or of factors that are all positive."""
    coefficient, factors = split(x)
    single = coefficient == 1 and len(factors) == 1
    if single and factors[0][1] == 1:
        return None
    if not single and (coefficient < 0 or any(base.sign != POSITIVE for base, _ in factors)):
        return None
    logs = [
        product([make("log", base if e % 1 or e % 2 else make("abs", base)), literal(e)])
        for base, e in factors
    ]
    return total([*logs, literal(log(coefficient))])


def _is_bare(coefficient: float, factors: Factors) -> bool:
    """Whether a product is one base alone."""
    return coefficient == 1 and len(factors) == 1 and factors[0][1] == 1


FORMS: Final[Mapping[str, Function]] = {
    "abs": _abs,
    "sign": _sign,
    "relu": _relu,
    "inv": _inv,
    "log": _log,
    "sqrt": lambda x: power(x, 0.5),
}
