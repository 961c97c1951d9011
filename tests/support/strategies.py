"""Hypothesis strategies shared by the tests: random well-kinded expressions, and random texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from emqlang.grammar import levels
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.kinds import KindError, kind_of
from emqlang.grammar.levels import Level
from emqlang.grammar.ops import OPS, Class

STRUCTURED = {name for name, op in OPS.items() if op.cls is Class.STRUCTURED} | {"gram"}
PLAIN = tuple(name for name in OPS if name not in STRUCTURED)

LAYERS = (levels.CONSTANT, levels.LAYER)
EVERY_LEVEL = (*LAYERS, levels.CONFIGURATION)

EXPONENTS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
LITERALS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 10.0, 1e-9)


def _fits(op: str, kinds: tuple[Kind, ...]) -> bool:
    try:
        kind_of(op, *kinds)
    except KindError:
        return False
    return True


_TAKES = {
    op: {kinds for kinds in product(Kind, repeat=OPS[op].arity) if _fits(op, kinds)} for op in OPS
}

finite = st.floats(allow_nan=False, allow_infinity=False)
ordinary_literals, ordinary_exponents = st.sampled_from(LITERALS), st.sampled_from(EXPONENTS)
any_literals, any_exponents = ordinary_literals | finite, ordinary_exponents | finite


@st.composite
def exprs(
    draw: DrawFn,
    inputs: Sequence[str] = tuple(INPUTS),
    ops: Sequence[str] = tuple(OPS),
    kinds: Collection[Kind] = tuple(Kind),
    of: Collection[Level] = EVERY_LEVEL,
    max_ops: int = 12,
    max_size: int = 200,
    literals: SearchStrategy[float] = any_literals,
    exponents: SearchStrategy[float] = any_exponents,
) -> Expr:
    """A random expression of one of the kinds and levels, of these statistics and ops.

    Every op is drawn among those that some values made so far fit, so nothing is thrown away; parts
    may be shared.
    """
    leaves = st.sampled_from(inputs).map(statistic)
    pool = draw(st.lists(leaves | literals.map(literal), min_size=1, max_size=3))
    for _ in range(draw(st.integers(0, max_ops))):
        known = {value.kind for value in pool}
        usable = [op for op in ops if any(set(takes) <= known for takes in _TAKES[op])]
        if not usable:
            pool.append(draw(leaves))
            continue
        op = draw(st.sampled_from(usable))
        takes = draw(st.sampled_from(sorted(takes for takes in _TAKES[op] if set(takes) <= known)))
        args: list[Expr] = []
        for kind in takes:
            fitting = [x for x in reversed(pool) if x.kind is kind and _meets(op, x, args)]
            args += [draw(st.sampled_from(fitting))] if fitting else []
        if len(args) < len(takes):
            pool.append(draw(leaves))
        elif sum(arg.size for arg in args) < max_size:  # sharing can double the size at every step
            pool.append(apply(op, *args, exponent=draw(exponents) if op == "pow" else None))
    fitting = [value for value in reversed(pool) if value.kind in kinds and value.level in of]
    return fitting[0] if fitting else draw(leaves.filter(lambda leaf: leaf.kind in kinds))


def _meets(op: str, value: Expr, others: Sequence[Expr]) -> bool:
    """Whether the levels of a value and of the op's other operands let them meet."""
    if op == "total":
        return value.level != levels.CONFIGURATION
    return all(value.level | other.level != levels.MIXED for other in others)


@st.composite
def joint_exprs(draw: DrawFn, max_ops: int = 6, **options: Any) -> Expr:
    """A random expression of the configuration, most often over images."""
    options = {"kinds": (Kind.LAYER, Kind.IMAGE), "of": LAYERS} | options
    parts = st.lists(exprs(max_ops=max_ops, **options), min_size=1, max_size=2)
    pool = [apply("total", part) for part in draw(parts)]
    pool.append(literal(draw(options.get("literals", ordinary_literals))))
    for _ in range(draw(st.integers(0, max_ops))):
        op = draw(st.sampled_from([op for op in PLAIN if op != "total"]))
        known = {value.kind for value in pool}
        usable = sorted(takes for takes in _TAKES[op] if set(takes) <= known)
        if usable:
            args = [
                draw(st.sampled_from([value for value in reversed(pool) if value.kind is kind]))
                for kind in draw(st.sampled_from(usable))
            ]
            exponent = draw(options.get("exponents", ordinary_exponents)) if op == "pow" else None
            pool.append(apply(op, *args, exponent=exponent))
    return next(value for value in reversed(pool) if value.level == levels.CONFIGURATION)


def plain_exprs(**options: Any) -> SearchStrategy[Expr]:
    """Expressions without structured ops, with ordinary numbers: what a search makes."""
    defaults: dict[str, Any] = {
        "ops": PLAIN,
        "literals": ordinary_literals,
        "exponents": ordinary_exponents,
    }
    return exprs(**(defaults | options))


_TOKENS = (
    *OPS,
    *INPUTS,
    *"().+-*/@,=#\n\t",
    "**",
    "==",
    "##",
    "1",
    "2.5",
    "1e999",
    " ",
    "a",
    "b",
    "_c",
    "é",
    "²",
)
_tokens = st.lists(st.sampled_from(_TOKENS), max_size=30)

texts = _tokens.map("".join) | _tokens.map(" ".join) | st.text(max_size=60)
"""Texts that may or may not be in the language."""
