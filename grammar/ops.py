"""THE op table: every op, what it computes, and what it is where mathematics has no value.

Ops are pure and defined on every real number. The tables that give an op its meaning elsewhere
(float64 reference, torch, sympy) are keyed by these names, and tests assert that each is a
bijection with the ops it must cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VERSION = 1  # part of every key: raise it when the meaning of any row changes


class Class(StrEnum):
    ELEMENTWISE = "elementwise"  # one value from the values at one place; a layer value broadcasts
    REDUCTION = "reduction"  # a tensor to one number per layer
    COMPOSITE = "composite"  # an abbreviation; its expansion is what is evaluated
    STRUCTURED = "structured"  # works on a layer's weight as a (C_out, fan_in) matrix
    CONFIGURATION = "configuration"  # values of layers to one of the configuration


@dataclass(frozen=True, slots=True)
class Op:
    """An op has a meaning, `formula`, and a `protection`: its value where mathematics has none."""

    name: str
    arity: int
    cls: Class
    formula: str
    protection: str = ""
    infix: str = ""
    commutative: bool = False
    associative: bool = False
    idempotent: bool = False  # op(op(x)) = op(x)
    expansion: str = ""  # of a composite, in the language, over x


INPUT, LITERAL = "input", "literal"  # the ops of leaves

E, R, C, S = Class.ELEMENTWISE, Class.REDUCTION, Class.COMPOSITE, Class.STRUCTURED
J = Class.CONFIGURATION
# fmt: off
_TABLE = (
    Op("add", 2, E, "x + y", infix="+", commutative=True, associative=True),
    Op("sub", 2, E, "x - y", infix="-"),
    Op("mul", 2, E, "x * y", infix="*", commutative=True, associative=True),
    Op("div", 2, E, "x * inv(y)", "x / 0 = 0", infix="/"),
    Op("pow", 1, E, "x ** c, c a literal",
       "an integer c is a repeated product, of inv(x) where c < 0; otherwise on max(x, 0)",
       infix="**"),
    Op("neg", 1, E, "-x"),
    Op("abs", 1, E, "|x|", idempotent=True),
    Op("sign", 1, E, "-1, 0 or 1", idempotent=True),
    Op("relu", 1, E, "max(x, 0)", idempotent=True),
    Op("inv", 1, E, "1 / x", "inv(0) = 0"),
    Op("sqrt", 1, E, "square root of max(x, 0)", "0 for x < 0"),
    Op("log", 1, E, "natural logarithm", "0 for x <= 0"),
    Op("exp", 1, E, "e ** x"),
    Op("sigmoid", 1, E, "1 / (1 + e ** -x)"),
    Op("sum", 1, R, "sum over the layer's values, or over images"),
    Op("mean", 1, R, "mean over the layer's values, or over images"),
    Op("std", 1, R, "standard deviation, divided by n"),
    Op("var", 1, R, "variance, divided by n"),
    Op("min", 1, R, "least value"),
    Op("max", 1, R, "greatest value"),
    Op("l1", 1, R, "sum of |x|"),
    Op("l2", 1, R, "square root of the sum of x ** 2"),
    Op("square", 1, C, "x ** 2", expansion="x ** 2"),
    Op("normalize", 1, C, "(x - mean(x)) / std(x)", "0 for a constant",
       expansion="(x - mean(x)) * inv(std(x))"),
    Op("min_max", 1, C, "(x - min(x)) / (max(x) - min(x))", "0 for a constant",
       expansion="(x - min(x)) * inv(max(x) - min(x))"),
    Op("gram", 1, C, "x @ x: inner products of the output channels", expansion="x @ x"),
    Op("matmul", 2, S, "X Y^T, of weights as (C_out, fan_in) or of two matrices", infix="@"),
    Op("softmax", 1, S, "softmax over the output channels"),
    Op("logsoftmax", 1, S, "logarithm of the softmax over the output channels"),
    Op("slogdet", 1, S, "log |det X| of a square matrix", "0 for a singular one"),
    Op("total", 1, J, "sum over the layers of the configuration, each under its choice"),
)  # a new op goes to the end: its place is part of every key
# fmt: on

OPS: Final = {op.name: op for op in _TABLE}
assert len(OPS) == len(_TABLE)

INFIX: Final = {op.infix: op.name for op in _TABLE if op.infix}
# what may be written as name(...)
CALLS = tuple(op.name for op in _TABLE if not op.infix and op.name != "neg")
assert "neg" in OPS and all(op.arity == 1 for op in _TABLE if not op.infix)
