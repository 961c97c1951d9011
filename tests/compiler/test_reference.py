"""The reference gives every op the values that its points have by hand."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from points import COMPOSITES, ELEMENTWISE, POWERS, REDUCTIONS, STRUCTURED

from emqlang.grammar.ops import OPS, Class


def test_every_op_has_a_meaning_and_points() -> None:
    of = {cls: {op.name for op in OPS.values() if op.cls is cls} for cls in Class}
    assert reference.MEANINGS.keys() | {"pow", *of[Class.CONFIGURATION]} == OPS.keys()
    assert ELEMENTWISE.keys() | {"pow"} == of[Class.ELEMENTWISE]
    assert REDUCTIONS.keys() == of[Class.REDUCTION]
    assert COMPOSITES.keys() == of[Class.COMPOSITE]
    assert STRUCTURED.keys() == of[Class.STRUCTURED]


def test_every_protection_has_its_points() -> None:
    """What the table calls protected is tried at 0 and below; nothing else is undefined there."""
    for op in OPS.values():
        if op.cls is Class.ELEMENTWISE and op.protection and op.name != "pow":
            assert {np.sign(args[-1]) for args, _ in ELEMENTWISE[op.name]} >= (
                {0} if op.name in ("div", "inv") else {0, -1}
            )


@pytest.mark.parametrize(
    ("op", "args", "value"),
    [(op, *point) for op, points in ELEMENTWISE.items() for point in points],
)
def test_the_reference_of_elementwise_ops(op: str, args: tuple[float, ...], value: float) -> None:
    with np.errstate(over="ignore"):
        assert reference.MEANINGS[op](*map(np.float64, args)) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(("x", "c", "value"), POWERS)
def test_the_reference_of_powers(x: float, c: float, value: float) -> None:
    assert reference.power(np.float64(x), c) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("op", "x", "value"), [(op, *point) for op, points in REDUCTIONS.items() for point in points]
)
def test_the_reference_of_reductions(op: str, x: list[float], value: float) -> None:
    count = [len(x)] if op in ("sum", "l1", "l2") else []
    assert reference.MEANINGS[op](np.array(x, np.float64), *count) == pytest.approx(
        value, rel=1e-15
    )


@pytest.mark.parametrize(
    ("op", "x", "value"),
    [(op, [[v] for v in x], y) for op, points in COMPOSITES.items() for x, y in points]
    + [(op, x, y) for op, points in STRUCTURED.items() for x, y in points if op != "slogdet"],
)
def test_the_reference_of_ops_on_matrices(
    op: str, x: list[list[float]], value: list[float]
) -> None:
    matrix = np.array(x, np.float64)
    found = reference.MEANINGS[op](*[matrix] * OPS[op].arity)
    assert np.ravel(found).tolist() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(("x", "value"), [(x, y) for x, (y,) in STRUCTURED["slogdet"]])
def test_the_reference_of_log_determinants(x: list[list[float]], value: float) -> None:
    """Of x @ x, whose determinant is that of x squared."""
    assert reference.MEANINGS["slogdet"](
        np.array(x, np.float64) @ np.array(x, np.float64).T
    ) == pytest.approx(value, rel=1e-12)
