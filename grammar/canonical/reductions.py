"""What reductions, composites and structured ops become on canonical operands.

A reduction is linear in sums, and layer factors move out of it; l1 and l2 become a sum, std the
root of var, a sum over weights numel * mean. A composite becomes its expansion. A structured op
needs a tensor. The total over layers is linear too, and trades places with a mean or sum over
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from emqlang.grammar import levels
from emqlang.grammar.canonical.literals import times
from emqlang.grammar.canonical.normal import (
    Lower,
    make,
    negate,
    power,
    product,
    scaled,
    terms_of,
    total,
)
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import NONNEGATIVE


def _mean(x: Expr, was: Expr) -> Expr:
    """Linear: E(sum of c s x) = sum of c s E(x), s layer values."""
    if x.kind is Kind.LAYER:
        return x
    if x.op == "total":
        return _total(_mean(x.args[0], x.args[0]), x.args[0])
    if x.op not in ("add", "mul"):
        return apply("mean", x)
    shifts, core = _parted(x)
    parts = []
    for coefficient, term in core:
        scale, rest = _scales(term)
        inner = _mean(rest, was) if scale or rest.op == "total" else apply("mean", rest)
        parts.append(product([literal(coefficient), *scale, inner]))
    return total([*shifts, *parts])


def _sum(x: Expr, was: Expr) -> Expr:
    """Over weights and matrices count * mean; the language has no count of sampled activations."""
    count = _COUNTS.get(was.kind)
    if count is not None:
        return product([count, _mean(x, was)])
    if x.op == "total" and x.kind is not Kind.LAYER:
        return _total(_sum(x.args[0], x.args[0]), x.args[0])
    parts = []
    for coefficient, term in terms_of(lift(x, was)):
        scale, rest = ([], literal(1)) if term is None else _scales(term)
        linear = (scale or rest.op == "total") and rest.kind is not Kind.LAYER
        inner = _sum(rest, was) if linear else apply("sum", lift(rest, was))
        parts.append(product([literal(coefficient), *scale, inner]))
    return total(parts)


def _var(x: Expr, was: Expr) -> Expr:
    """Blind to shifts, quadratic in layer factors."""
    _, core = _parted(x)
    if not core:
        return literal(0)
    if len(core) > 1:
        return apply("var", _turned(core)[1])
    coefficient, term = core[0]
    scale, rest = _scales(term)
    inner = _var(rest, was) if scale else apply("var", rest)
    return product(
        [literal(times(coefficient, coefficient)), *(power(s, 2.0) for s in scale), inner]
    )


def _extreme(op: str, other: str) -> Lower:
    def reduce(x: Expr, was: Expr) -> Expr:
        """Shifts and layer factors of known sign move out; a negative one swaps min and max."""
        if x.kind is Kind.LAYER:
            return x
        shifts, core = _parted(x)
        if len(core) > 1:
            sign, moved = _turned(core)
            return total(
                [*shifts, product([literal(sign), apply(op if sign > 0 else other, moved)])]
            )
        coefficient, term = core[0]
        scale, rest = _scales(term)
        known = [s for s in scale if s.sign | NONNEGATIVE == NONNEGATIVE]
        rest = product([*(s for s in scale if s not in known), rest])
        rising = op if coefficient > 0 else other
        inner = _REDUCTIONS[rising](rest, was) if known else apply(rising, rest)
        return total([*shifts, product([literal(coefficient), *known, inner])])

    return reduce


def _parted(x: Expr) -> tuple[list[Expr], list[tuple[float, Expr]]]:
    """The layer values added to a tensor, and its other terms."""
    shifts, core = list[Expr](), list[tuple[float, Expr]]()
    for coefficient, term in terms_of(x):
        if term is None:
            shifts.append(literal(coefficient))
        elif term.kind is Kind.LAYER:
            shifts.append(scaled(term, coefficient))
        else:
            core.append((coefficient, term))
    return shifts, core


def _turned(core: list[tuple[float, Expr]]) -> tuple[float, Expr]:
    """Terms as a sign and a sum, the same sum for terms and for their negatives."""
    sign = -1.0 if min(core, key=lambda pair: pair[1].digest)[0] < 0 else 1.0
    return sign, total([scaled(term, coefficient * sign) for coefficient, term in core])


def _scales(term: Expr) -> tuple[list[Expr], Expr]:
    """A product as layer factors and the tensor that is left."""
    whole = term
    layers: list[Expr] = []
    factors: list[Expr] = []
    while term.op == "mul":
        term, last = term.args
        (layers if last.kind is Kind.LAYER else factors).append(last)
    (layers if term.kind is Kind.LAYER else factors).append(term)
    return (layers, product(factors)) if layers else ([], whole)


def _total(x: Expr, was: Expr) -> Expr:
    """Linear in literal factors: the total of c a + d b is c total(a) + d total(b)."""
    parts = [
        product([literal(coefficient), apply("total", literal(1) if term is None else term)])
        for coefficient, term in terms_of(x)
    ]
    return total(parts)


_COUNTS = {
    Kind.WEIGHT: statistic("numel"),
    Kind.MATRIX: apply("pow", statistic("channels_out"), exponent=2),
    Kind.LAYER: literal(1),
}
_REDUCTIONS: dict[str, Lower] = {
    "mean": _mean,
    "sum": _sum,
    "var": _var,
    "std": lambda x, was: power(_var(x, was), 0.5),
    "min": _extreme("min", "max"),
    "max": _extreme("max", "min"),
    "l1": lambda x, was: _sum(make("abs", x), was),
    "l2": lambda x, was: power(_sum(power(x, 2.0), was), 0.5),
}
assert _REDUCTIONS.keys() == {op.name for op in OPS.values() if op.cls is Class.REDUCTION}


# structured ops, which need tensors

_SAMPLES = {
    Kind.WEIGHT: statistic("w"),
    Kind.ACTIVATION: statistic("act"),
    Kind.MATRIX: apply("matmul", *[statistic("w")] * 2),
    Kind.IMAGE: statistic("shift"),
}


def lift(x: Expr, like: Expr) -> Expr:
    """A layer value as a tensor that is the same everywhere: times ones, anything ** 0."""
    if x.kind is not Kind.LAYER or like.kind is Kind.LAYER:
        return x
    sample = _SAMPLES[like.kind]
    if like.level == levels.CONFIGURATION:
        sample = apply("total", sample)
    ones = apply("pow", sample, exponent=0)
    return ones if x == literal(1) else apply("mul", x, ones)


def _structured(op: str, x: Expr, was: Expr) -> Expr:
    if x.kind is not Kind.LAYER:
        return apply(op, x)
    if op == "slogdet":
        return apply(op, lift(x, was))
    uniform = make("inv", statistic("channels_out"))
    return uniform if op == "softmax" else make("log", uniform)


def matmul(operands: Sequence[Expr]) -> Expr:
    """The product of two matrices; a layer value is one that is the same everywhere."""
    like = next((x for x in operands if x.kind is not Kind.LAYER), _SAMPLES[Kind.WEIGHT])
    return apply("matmul", *(lift(x, like) for x in operands))


def _normalize(x: Expr, was: Expr) -> Expr:
    return product([_minus(x, _mean(x, was)), make("inv", power(_var(x, was), 0.5))])


def _min_max(x: Expr, was: Expr) -> Expr:
    low, high = _REDUCTIONS["min"](x, was), _REDUCTIONS["max"](x, was)
    return product([_minus(x, low), make("inv", _minus(high, low))])


def _minus(x: Expr, y: Expr) -> Expr:
    return total([x, negate(y)])


_COMPOSITES: dict[str, Lower] = {
    "square": lambda x, was: power(x, 2.0),
    "normalize": _normalize,
    "min_max": _min_max,
    "gram": lambda x, was: matmul((lift(x, was),) * 2),
}
assert _COMPOSITES.keys() == {op.name for op in OPS.values() if op.cls is Class.COMPOSITE}

FORMS: Final[Mapping[str, Lower]] = {
    **_REDUCTIONS,
    **_COMPOSITES,
    **{op: partial(_structured, op) for op in ("softmax", "logsoftmax", "slogdet")},
    "total": _total,
}
