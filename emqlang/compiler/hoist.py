"""Planning form: reductions brought to mean, var, min and max, and layer factors and offsets taken out of them.

    mean(x*s) = mean(x)*s      std(x*s) = std(x)*|s|     l1(x*s) = l1(x)*|s|     min(x*s) = min(x)*s for s >= 0
    mean(x+s) = mean(x)+s      std(x+s) = std(x)         l2(x*s) = l2(x)*|s|     max(x*s) = max(x)*s for s >= 0
    sum(x) = total*mean(x)     var(x*s) = var(x)*s**2    var(x+s) = var(x)

What is left to reduce is shared by more programs, and the rest is arithmetic on one number a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from emqlang.grammar.expr import Expr, apply, literal, postorder
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import NEGATIVE, POSITIVE

TOTAL = "total"  # the op of a leaf: how many values the layer truly has of the kind that is its value

_TOTALS = {
    kind: Expr(TOTAL, (), kind.value, blake2b(f"{TOTAL} {kind.value}".encode(), digest_size=16).digest(), Kind.LAYER, POSITIVE, 0)
    for kind in (Kind.WEIGHT, Kind.ACTIVATION, Kind.MATRIX)
}
_MINUS_ONE = literal(-1)


class _Scaled(NamedTuple):
    """A tensor as core * scale, scale a layer value or nothing. A layer value is its own core."""

    core: Expr
    scale: Expr | None = None

    def whole(self) -> Expr:
        if self.scale is None:
            return self.core
        return apply("neg", self.core) if self.scale == _MINUS_ONE else apply("mul", self.core, self.scale)


class Hoist:
    """Rewrites expressions; equal parts of all that it has seen are rewritten once."""

    def __init__(self) -> None:
        self._done: dict[Expr, _Scaled] = {}

    def __call__(self, root: Expr) -> Expr:
        for node in postorder(root):
            if node not in self._done:
                self._done[node] = self._rewrite(node)
        return self._done[root].whole()

    def _rewrite(self, node: Expr) -> _Scaled:
        if not node.args:
            return _Scaled(node)
        args = [self._done[arg] for arg in node.args]
        if OPS[node.op].cls is Class.REDUCTION:
            return _Scaled(_reduce(node.op, args[0]))
        if node.op in _COMPOSITES:
            expanded = _COMPOSITES[node.op](args[0].whole())
            self(expanded)
            return self._done[expanded]
        if node.kind is not Kind.LAYER and node.op in _PULLS:
            return _PULLS[node.op](*args)
        if node.op == "pow":
            return _Scaled(_power(args[0].whole(), float(node.value)))  # type: ignore[arg-type]
        if node.op == "add" and _MINUS_ONE in (args[0].scale, args[1].scale):
            return _Scaled(_difference(*args))
        return _Scaled(apply(node.op, *_ordered(node.op, [arg.whole() for arg in args])))


def _difference(a: _Scaled, b: _Scaled) -> Expr:
    """a + b where one of them is negated."""
    return apply("sub", a.whole(), b.core) if b.scale == _MINUS_ONE else apply("sub", b.whole(), a.core)


def _reduce(op: str, x: _Scaled) -> Expr:
    """The reduction of core * scale, as layer arithmetic on reductions of what cannot be split further."""
    core, scale = x
    if op == "sum":
        return apply("mul", _TOTALS[core.kind], _reduce("mean", x))
    if scale is not None and op in _SCALED and not (op in ("min", "max") and scale.sign & NEGATIVE):
        return _SCALED[op](_reduce(op, _Scaled(core)), scale)
    core = x.whole()
    if op in ("mean", "var", "std"):
        rest, offsets = _without_offsets(core)
        if offsets:
            return _shifted(op, _reduce(op, rest), offsets)
    if op == "l1":
        return _reduce("sum", _absolute(_Scaled(core)))
    if op == "l2":
        return apply("sqrt", _reduce("sum", _Scaled(apply("pow", core, exponent=2))))
    return apply("sqrt", apply("var", core)) if op == "std" else apply(op, core)


def _split(x: Expr) -> _Scaled:
    """Undoes `_Scaled.whole`."""
    if x.op == "neg":
        return _Scaled(x.args[0], _MINUS_ONE)
    if x.op == "mul" and Kind.LAYER in (x.args[0].kind, x.args[1].kind):
        return _product(_Scaled(x.args[0]), _Scaled(x.args[1]))
    return _Scaled(x)


def _without_offsets(x: Expr) -> tuple[_Scaled, list[Expr]]:
    """x as rest + offsets, all of them layer values."""
    offsets: list[Expr] = []
    negative = False
    while x.op in ("add", "sub"):
        a, b = x.args
        if Kind.LAYER not in (a.kind, b.kind):
            break
        rest, offset = (a, b) if b.kind is Kind.LAYER else (b, a)
        flips = x.op == "sub"
        offsets.append(apply("neg", offset) if negative != (flips and offset is b) else offset)
        negative ^= flips and rest is b
        x = rest
    core, scale = _split(x)
    return _Scaled(core, _times(scale, _MINUS_ONE) if negative else scale), offsets


def _shifted(op: str, reduced: Expr, offsets: list[Expr]) -> Expr:
    if op == "mean":
        for offset in reversed(offsets):
            reduced = apply("add", reduced, offset)
    return reduced


_SCALED: dict[str, Callable[[Expr, Expr], Expr]] = {
    "mean": lambda r, s: apply("mul", r, s),
    "std": lambda r, s: apply("mul", r, apply("abs", s)),
    "l1": lambda r, s: apply("mul", r, apply("abs", s)),
    "l2": lambda r, s: apply("mul", r, apply("abs", s)),
    "var": lambda r, s: apply("mul", r, apply("pow", s, exponent=2)),
    "min": lambda r, s: apply("mul", r, s),
    "max": lambda r, s: apply("mul", r, s),
}


def _ordered(op: str, args: list[Expr]) -> list[Expr]:
    return sorted(args) if OPS[op].commutative else args


def _times(a: Expr | None, b: Expr | None) -> Expr | None:
    return apply("mul", a, b) if a is not None and b is not None else a or b


def _product(a: _Scaled, b: _Scaled) -> _Scaled:
    if a.core.kind is Kind.LAYER:
        return _Scaled(b.core, _times(b.scale, a.core))
    if b.core.kind is Kind.LAYER:
        return _Scaled(a.core, _times(a.scale, b.core))
    return _Scaled(apply("mul", *_ordered("mul", [a.core, b.core])), _times(a.scale, b.scale))


def _quotient(a: _Scaled, b: _Scaled) -> _Scaled:
    return _product(a, _inverse(b))


def _through(op: str, x: _Scaled) -> _Scaled:
    """op(core * scale) = op(core) * op(scale)."""
    return _Scaled(apply(op, x.core), None if x.scale is None else apply(op, x.scale))


def _inverse(x: _Scaled) -> _Scaled:
    return _through("inv", x)


def _absolute(x: _Scaled) -> _Scaled:
    core = apply("abs", x.core) if x.core.sign & NEGATIVE else x.core
    return _Scaled(core, None if x.scale is None else apply("abs", x.scale))


def _positive_through(op: str) -> Callable[[_Scaled], _Scaled]:
    """For sqrt and relu the scale must not be negative."""

    def pull(x: _Scaled) -> _Scaled:
        return _through(op, x) if x.scale is None or not x.scale.sign & NEGATIVE else _Scaled(apply(op, x.whole()))

    return pull


_PULLS: dict[str, Callable[..., _Scaled]] = {
    "mul": _product,
    "div": _quotient,
    "neg": lambda x: _Scaled(x.core, _times(x.scale, _MINUS_ONE)),
    "abs": _absolute,
    "inv": _inverse,
    "sign": lambda x: _through("sign", x),
    "sqrt": _positive_through("sqrt"),
    "relu": _positive_through("relu"),
}


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


def _standardised(x: Expr, shift: str, spread: Callable[[Expr], Expr]) -> Expr:
    return apply("mul", apply("sub", x, apply(shift, x)), apply("inv", spread(x)))


_COMPOSITES: dict[str, Callable[[Expr], Expr]] = {
    "square": lambda x: apply("pow", x, exponent=2),
    "normalize": lambda x: _standardised(x, "mean", lambda y: apply("std", y)),
    "min_max": lambda x: _standardised(x, "min", lambda y: apply("sub", apply("max", y), apply("min", y))),
    "gram": lambda x: apply("matmul", x, x),
}
assert _COMPOSITES.keys() == {op.name for op in OPS.values() if op.cls is Class.COMPOSITE}
