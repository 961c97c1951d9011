"""Planning form: a canonical program as the kernels like it, its reductions brought to REDUCTIONS.

The canonical form has taken the layer values s, one number per layer, out of reductions:

    mean(x*s) = mean(x)*s    sum(x*s) = sum(x)*s      std(x*s) = std(x)*|s|    l1(x*s) = l1(x)*|s|
    mean(x+s) = mean(x)+s    sum(x+s) = sum(x)+n*s    std(x+s) = std(x)        l2(x*s) = l2(x)*|s|
                                                      var(x*s) = var(x)*s**2   var(x+s) = var(x)
    and for s >= 0           min(x*s) = min(x)*s      max(x*s) = max(x)*s

What is left to reduce is shared by many programs; the rest is arithmetic on one number per layer.
PASSES rewrite that form, one after the other. They take any op: where literals would overflow, the
canonical form leaves an op as written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from emqlang.grammar import levels
from emqlang.grammar.expr import Expr, apply, literal, postorder, rebuild, walk
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import POSITIVE

REDUCTIONS: Final = frozenset({"mean", "var", "min", "max"})  # all that planning form has
COUNT: Final = "count"  # the op of a leaf: the true count of a layer's values of the kind it names

_ONE, _MINUS_ONE = literal(1), literal(-1)
_SAMPLED = (Kind.ACTIVATION, Kind.IMAGE)


class Pass(NamedTuple):
    """One bottom-up rewriting: for each op, what a node becomes, given its rewritten operands."""

    name: str
    rules: Mapping[str, Callable[..., Expr]]


def planning_form(programs: Sequence[Expr]) -> tuple[Expr, ...]:
    """The programs after all PASSES; equal parts are rewritten once."""
    for each in PASSES:
        programs = _rewrite(programs, each.rules)
    return tuple(programs)


def _rewrite(programs: Sequence[Expr], rules: Mapping[str, Callable[..., Expr]]) -> Sequence[Expr]:
    forms: dict[bytes, Expr] = {}
    for node in postorder(*programs):
        args = tuple([forms[arg.digest] for arg in node.args])
        if node.op not in rules:
            forms[node.digest] = node if args == node.args else rebuild(node, args)
        elif node.op == "pow":
            forms[node.digest] = rules["pow"](*args, node.value)
        else:
            forms[node.digest] = rules[node.op](*args)
    return [forms[program.digest] for program in programs]


def is_reduction(node: Expr) -> bool:
    """Whether the node turns a tensor into a layer value: where a pass over memory ends."""
    return node.kind is Kind.LAYER and any(arg.kind is not Kind.LAYER for arg in node.args)


def is_structured(reduction: Expr) -> bool:
    """Whether a part of the chain needs whole layers rather than tiles: only one of weights.

    What a structured op makes of weights is but a number to a chain of activations or images.
    """
    return all(arg.kind not in _SAMPLED for arg in reduction.args) and any(
        OPS[node.op].cls is Class.STRUCTURED
        for node in (reduction, *chain(reduction))
        if node.op in OPS
    )


def chain(reduction: Expr) -> Iterator[Expr]:
    """The tensors between memory and a reduction, operands first, and the layer values met."""
    return walk(reduction.args, lambda node: () if node.kind is Kind.LAYER else node.args)


def scalars(reduction: Expr) -> tuple[Expr, ...]:
    """The layer values that the chain of a reduction reads."""
    return tuple(node for node in chain(reduction) if node.kind is Kind.LAYER)


# Abbreviations: sum(x) is count * mean(x), with the true count of values that were sampled.


def _count(kind: Kind) -> Expr:
    """Images are as many for every layer, and for the configuration."""
    digest = blake2b(f"total {kind.value}".encode(), digest_size=16).digest()
    level = levels.CONSTANT if kind is Kind.IMAGE else levels.LAYER
    return Expr(COUNT, (), kind.value, digest, Kind.LAYER, POSITIVE, 0, level=level)


_COUNTS: Final[dict[Kind, Expr]] = {kind: _count(kind) for kind in Kind if kind is not Kind.LAYER}


def _sum(x: Expr) -> Expr:
    """Ones, which is what x ** 0 is, need no pass over memory."""
    ones = x.op == "pow" and x.value == 0
    return _COUNTS[x.kind] if ones else apply("mul", _COUNTS[x.kind], apply("mean", x))


def _square(x: Expr) -> Expr:
    return apply("pow", x, exponent=2)


def _std(x: Expr) -> Expr:
    return apply("sqrt", apply("var", x))


def _between(x: Expr, low: Expr, width: Expr) -> Expr:
    return apply("mul", apply("sub", x, low), apply("inv", width))


_ABBREVIATIONS: Final = {
    "sum": _sum,
    "l1": lambda x: _sum(apply("abs", x)),
    "l2": lambda x: apply("sqrt", _sum(_square(x))),
    "std": _std,
    "square": _square,
    "normalize": lambda x: _between(x, apply("mean", x), _std(x)),
    "min_max": lambda x: _between(
        x, apply("min", x), apply("sub", apply("max", x), apply("min", x))
    ),
    "gram": lambda x: apply("matmul", x, x),
}
assert _ABBREVIATIONS.keys() | REDUCTIONS == {
    op.name for op in OPS.values() if op.cls in (Class.REDUCTION, Class.COMPOSITE)
}


# Exponents: all are positive, or 0.


def _positive_power(x: Expr, c: float) -> Expr:
    """x ** -c is inv(x) ** c."""
    if c < 0:
        x, c = apply("inv", x), -c
    return x if c == 1 else apply("pow", x, exponent=c)


# Factors: x*s*y becomes (x*y)*s, so that a tensor meets one layer value once.


def _product(a: Expr, b: Expr) -> Expr:
    if a.kind is b.kind is Kind.LAYER:
        return b if a == _ONE else a if b == _ONE else apply("mul", a, b)
    if a.kind is Kind.LAYER:
        a, b = b, a
    core, scale = _split(a)
    if b.kind is Kind.LAYER:
        return _scaled(core, _product(scale, b))
    other, factor = _split(b)
    return _scaled(apply("mul", core, other), _product(scale, factor))


def _negative(x: Expr) -> Expr:
    return apply("neg", x) if x.kind is Kind.LAYER else _product(x, _MINUS_ONE)


def _split(x: Expr) -> tuple[Expr, Expr]:
    """A tensor as core and scale, a layer value."""
    if x.op == "neg":
        return x.args[0], _MINUS_ONE
    return (x.args[0], x.args[1]) if x.op == "mul" and x.args[1].kind is Kind.LAYER else (x, _ONE)


def _scaled(core: Expr, scale: Expr) -> Expr:
    """Undoes `_split`; x * -1 is -x."""
    if scale == _ONE:
        return core
    return apply("neg", core) if scale == _MINUS_ONE else apply("mul", core, scale)


# Differences: x + -y becomes x - y.


def _difference(a: Expr, b: Expr) -> Expr:
    if b.op == "neg":
        return apply("sub", a, b.args[0])
    return apply("sub", b, a.args[0]) if a.op == "neg" else apply("add", a, b)


# Roots, by sqrt where that is all they need.


def _root(x: Expr, c: float) -> Expr:
    """x ** 1.5 is x * sqrt(x), whatever the factors of x: that needs no pass of its own."""
    if c == 0.5:
        return apply("sqrt", x)
    if c == 0.25:
        return apply("sqrt", apply("sqrt", x))
    if c % 1 == 0.5 and c < 16:
        whole = x if c == 1.5 else apply("pow", x, exponent=c - 0.5)
        return apply("mul", whole, apply("sqrt", x))
    return apply("pow", x, exponent=c)


# Order: of the operands of + and *, so that equal parts are equal whatever they came from.


def _ordered_sum(a: Expr, b: Expr) -> Expr:
    return apply("add", *sorted((a, b)))


def _ordered_product(a: Expr, b: Expr) -> Expr:
    return apply("mul", *(sorted((a, b)) if a.kind is b.kind else (a, b)))


PASSES: Final = (
    Pass("abbreviations", _ABBREVIATIONS),
    Pass("exponents", {"pow": _positive_power}),
    Pass("factors", {"mul": _product, "neg": _negative}),
    Pass("differences", {"add": _difference}),
    Pass("roots", {"pow": _root}),
    Pass("order", {"add": _ordered_sum, "mul": _ordered_product}),
)
