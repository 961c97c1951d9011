"""Planning form: a canonical program as the kernels like it, its reductions brought to mean, var, min and max.

The canonical form has taken the layer values s, one number a layer, out of reductions:

    mean(x*s) = mean(x)*s      std(x*s) = std(x)*|s|     l1(x*s) = l1(x)*|s|     min(x*s) = min(x)*s for s >= 0
    mean(x+s) = mean(x)+s      std(x+s) = std(x)         l2(x*s) = l2(x)*|s|     max(x*s) = max(x)*s for s >= 0
    sum(x+s) = sum(x)+n*s      var(x*s) = var(x)*s**2    var(x+s) = var(x)       sum(x*s) = sum(x)*s

What is left to reduce is shared by many programs, and the rest is arithmetic on one number a layer. Here
    x*s*y becomes (x*y)*s, so that a tensor meets one layer value once; x*-1 becomes -x, and x + -y becomes x - y
    powers become inverses, squares and roots
    sum(x) becomes total*mean(x), with the true count of values that were sampled
    what the canonical form left as written, for its literals would overflow, becomes what it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from emqlang.grammar.expr import Expr, apply, literal, postorder
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import POSITIVE

TOTAL = (
    "total"  # the op of a leaf: how many values the layer truly has of the kind that is its value
)
REDUCTIONS = frozenset({"mean", "var", "min", "max"})  # all that the planning form has

_TOTALS = {
    kind: Expr(
        TOTAL,
        (),
        kind.value,
        blake2b(f"{TOTAL} {kind.value}".encode(), digest_size=16).digest(),
        Kind.LAYER,
        POSITIVE,
        0,
    )
    for kind in (Kind.WEIGHT, Kind.ACTIVATION, Kind.MATRIX)
}
_ONE, _MINUS_ONE = literal(1), literal(-1)


class PlanningForm:
    """Rewrites expressions; equal parts of all that it has seen are rewritten once."""

    def __init__(self) -> None:
        self._done: dict[Expr, Expr] = {}

    def __call__(self, root: Expr) -> Expr:
        for node in postorder(root):
            if node not in self._done:
                self._done[node] = _rewrite(node, tuple(self._done[arg] for arg in node.args))
        return self._done[root]


def _rewrite(node: Expr, args: tuple[Expr, ...]) -> Expr:
    if node.op == "pow":
        return _power(args[0], float(node.value))  # type: ignore[arg-type]
    return (
        _REWRITTEN[node.op](*args)
        if node.op in _REWRITTEN
        else apply(node.op, *args)
        if args
        else node
    )


def _split(x: Expr) -> tuple[Expr, Expr]:
    """A tensor in planning form as core and scale, a layer value."""
    if x.op == "neg":
        return x.args[0], _MINUS_ONE
    return (x.args[0], x.args[1]) if x.op == "mul" and x.args[1].kind is Kind.LAYER else (x, _ONE)


def _scaled(core: Expr, scale: Expr) -> Expr:
    """Undoes `_split`."""
    if scale == _ONE:
        return core
    return apply("neg", core) if scale == _MINUS_ONE else apply("mul", core, scale)


def _product(a: Expr, b: Expr) -> Expr:
    if a.kind is b.kind is Kind.LAYER:
        return b if a == _ONE else a if b == _ONE else apply("mul", *sorted((a, b)))
    if a.kind is Kind.LAYER:
        a, b = b, a
    core, scale = _split(a)
    if b.kind is Kind.LAYER:
        return _scaled(core, _product(scale, b))
    other, factor = _split(b)
    return _scaled(apply("mul", *sorted((core, other))), _product(scale, factor))


def _sum(a: Expr, b: Expr) -> Expr:
    if b.op == "neg":
        return apply("sub", a, b.args[0])
    return apply("sub", b, a.args[0]) if a.op == "neg" else apply("add", *sorted((a, b)))


def _power(x: Expr, c: float) -> Expr:
    """Exponents are left positive, for x ** -c = inv(x) ** c, and roots are taken by sqrt where that is all they need."""
    if c < 0:
        x, c = apply("inv", x), -c
    if c == 1:
        return x
    if c in (0.25, 0.5):
        root = apply("sqrt", x)
        return root if c == 0.5 else apply("sqrt", root)
    if c % 1 == 0.5 and c < 16:
        return apply("mul", _power(x, c - 0.5), apply("sqrt", x))
    return apply("pow", x, exponent=c)


def _total_of(x: Expr) -> Expr:
    """total * mean(x). Ones, which is what x ** 0 is, need no pass over memory."""
    ones = x.op == "pow" and x.value == 0
    return _TOTALS[x.kind] if ones else _product(_TOTALS[x.kind], apply("mean", x))


def _spread(x: Expr) -> Expr:
    return apply("sqrt", apply("var", x))


def _between(x: Expr, low: Expr, width: Expr) -> Expr:
    return _product(apply("sub", x, low), apply("inv", width))


_REWRITTEN: dict[str, Callable[..., Expr]] = {
    "mul": _product,
    "add": _sum,
    "sum": _total_of,
    "l1": lambda x: _total_of(apply("abs", x)),
    "l2": lambda x: apply("sqrt", _total_of(apply("pow", x, exponent=2))),
    "std": _spread,
    "square": lambda x: apply("pow", x, exponent=2),
    "normalize": lambda x: _between(x, apply("mean", x), _spread(x)),
    "min_max": lambda x: _between(
        x, apply("min", x), apply("sub", apply("max", x), apply("min", x))
    ),
    "gram": lambda x: apply("matmul", x, x),
}
assert {
    op.name for op in OPS.values() if op.cls in (Class.REDUCTION, Class.COMPOSITE)
} <= _REWRITTEN.keys() | REDUCTIONS
