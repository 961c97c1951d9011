"""Hypothesis strategies shared by the tests: random well-kinded expressions, and random texts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.kinds import KindError, kind_of
from emqlang.grammar.ops import OPS, Class

STRUCTURED = {name for name, op in OPS.items() if op.cls is Class.STRUCTURED} | {"gram"}
PLAIN = tuple(name for name in OPS if name not in STRUCTURED)

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
    max_ops: int = 12,
    max_size: int = 200,
    literals: SearchStrategy[float] = any_literals,
    exponents: SearchStrategy[float] = any_exponents,
) -> Expr:
    """A random expression of one of the kinds, of these statistics and ops; parts may be shared.

    Every op is drawn among those that some values made so far fit, so nothing is thrown away.
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
        args = [
            draw(st.sampled_from([value for value in reversed(pool) if value.kind is kind]))
            for kind in takes
        ]
        if sum(arg.size for arg in args) < max_size:  # sharing can double the size at every step
            pool.append(apply(op, *args, exponent=draw(exponents) if op == "pow" else None))
    fitting = [value for value in reversed(pool) if value.kind in kinds]
    return fitting[0] if fitting else draw(leaves.filter(lambda leaf: leaf.kind in kinds))


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
