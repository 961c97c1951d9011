"""THE op table and its implementations cover each other exactly, and agree where mathematics has no value."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from math import e, log, sqrt
from typing import Any

import numpy as np
import pytest
import reference
import torch
from fakes import Bits, compile, fake
from numpy.typing import NDArray

from emqlang.compiler import gpu, kernels, structured
from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.run import run
from emqlang.grammar.expr import apply, statistic
from emqlang.grammar.ops import OPS, Class

Array = NDArray[Any]

ELEMENTWISE: dict[str, list[tuple[tuple[float, ...], float]]] = {
    "add": [((1, 2), 3), ((0.5, -0.5), 0)],
    "sub": [((1, 2), -1), ((-1, -1), 0)],
    "mul": [((3, -2), -6), ((0, 5), 0)],
    "div": [((6, 3), 2), ((1, 0), 0), ((-1, 0), 0), ((0, 0), 0), ((0, 4), 0)],
    "neg": [((2,), -2), ((0,), 0)],
    "abs": [((-2,), 2), ((0,), 0)],
    "sign": [((-3,), -1), ((0,), 0), ((1e-20,), 1)],
    "relu": [((-3,), 0), ((0,), 0), ((2,), 2)],
    "inv": [((0,), 0), ((-0.5,), -2), ((4,), 0.25)],
    "sqrt": [((-4,), 0), ((0,), 0), ((9,), 3)],
    "log": [((0,), 0), ((-1,), 0), ((1,), 0), ((0.5,), -log(2))],
    "exp": [((0,), 1), ((-1000,), 0), ((1,), e)],
    "sigmoid": [((0,), 0.5), ((-1000,), 0), ((1000,), 1)],
}
POWERS: list[tuple[float, float, float]] = [
    (-2, 3, -8), (-2, 2, 4), (0, 0, 1), (-5, 0, 1), (0, 3, 0), (3, 1, 3), (2, 40, 2.0**40),
    (0, -1, 0), (0, -2, 0), (-2, -1, -0.5), (-2, -3, -0.125), (4, -2, 0.0625),
    (4, 0.5, 2), (0, 0.5, 0), (-4, 0.5, 0), (16, 0.25, 2), (4, 1.5, 8), (-4, 1.5, 0), (0, 0.3, 0), (-1, 0.3, 0), (1, 0.3, 1),
    (4, -0.5, 0.5), (0, -0.5, 0), (-4, -0.5, 0), (4, -1.5, 0.125), (0, -0.3, 0), (-1, -0.3, 0),
]  # fmt: skip
REDUCTIONS: dict[str, list[tuple[list[float], float]]] = {
    "sum": [([1, 2, 3, 6], 12), ([-1, 1], 0)],
    "mean": [([1, 2, 3, 6], 3), ([5], 5)],
    "var": [([1, 2, 3, 6], 3.5), ([5], 0), ([0.25, 0.25], 0)],
    "std": [([1, 2, 3, 6], sqrt(3.5)), ([5], 0)],
    "min": [([1, -2, 3, 6], -2), ([5], 5)],
    "max": [([1, -2, 3, 6], 6), ([-5], -5)],
    "l1": [([1, -2, 3, 6], 12), ([-5], 5)],
    "l2": [([3, -4], 5), ([0, 0], 0), ([-5], 5)],
}
COMPOSITES: dict[str, list[tuple[list[float], list[float]]]] = {
    "square": [([1, -2, 0], [1, 4, 0])],
    "normalize": [([1, 3], [-1, 1]), ([2, 2, 2], [0, 0, 0]), ([7], [0])],
    "min_max": [([1, 3, 2], [0, 1, 0.5]), ([2, 2, 2], [0, 0, 0]), ([7], [0])],
    "gram": [([1, 2], [1, 2, 2, 4])],
}
STRUCTURED: dict[str, list[tuple[list[list[float]], list[float]]]] = {
    "matmul": [([[1, 2], [3, 4]], [5, 11, 11, 25])],
    "softmax": [([[0, 1000], [log(3), 0]], [0.25, 1, 0.75, 0])],
    "logsoftmax": [([[0, 1000], [log(3), 0]], [-log(4), 0, log(0.75), -1000])],
    "slogdet": [
        ([[2, 0], [0, 3]], [log(36)]),
        ([[1, 1], [1, 1]], [0]),
        ([[0]], [0]),
        ([[-1]], [0]),
    ],
}


def test_every_table_is_a_bijection() -> None:
    of = {cls: {op.name for op in OPS.values() if op.cls is cls} for cls in Class}
    assert reference.MEANINGS.keys() | {"pow"} == OPS.keys()
    for table in (kernels.KERNELS, gpu.KERNELS, {**ELEMENTWISE, "pow": POWERS}):
        assert table.keys() == of[Class.ELEMENTWISE]
    assert REDUCTIONS.keys() == of[Class.REDUCTION]
    assert COMPOSITES.keys() == of[Class.COMPOSITE]
    assert structured.STRUCTURED.keys() == STRUCTURED.keys() == of[Class.STRUCTURED]


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


def evaluated(
    text_of: Any, layers: list[list[float]], others: list[list[float]] | None = None
) -> list[Array]:
    """A program over w (and grad), a layer for each list of values: by tiles in float32 and float64, and by whole buffers."""
    base = fake(
        shapes={f"l{i}": (len(layer), 1) for i, layer in enumerate(layers)},
        choices=(Bits(1),),
        sampled=1,
    )
    arrays = {
        "w": np.concatenate(layers).astype(np.float32),
        "grad": np.concatenate(others or layers).astype(np.float32),
    }
    statistics = base.with_arrays(**arrays)
    plan = compile([apply("mul", statistic("bits"), text_of)])
    wide = statistics.in_float64()
    found = (
        run(plan, statistics),
        run(plan, wide),
        run(plan, wide, engine=GpuEngine(wide, Axes(wide.choices))),
    )
    return [values[0, 0] for values in found]


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_the_compiled_elementwise_ops(op: str) -> None:
    """A point is a layer of one weight, and again in a layer with ordinary values around it."""
    points = ELEMENTWISE[op]
    names = [statistic(name) for name in ("w", "grad")[: OPS[op].arity]]
    firsts, lasts = ([[args[side]] for args, _ in points] for side in (0, -1))
    for values in evaluated(apply("mean", apply(op, *names)), firsts, lasts):
        assert values.tolist() == pytest.approx([value for _, value in points], rel=1e-6)
    around = [[x[0], 1.0, 1.0] for x in firsts], [[x[0], 1.0, 1.0] for x in lasts]
    one = float(reference.MEANINGS[op](*[np.float64(1)] * OPS[op].arity))
    for values in evaluated(apply("mean", apply(op, *names)), *around):
        assert values.tolist() == pytest.approx(
            [(value + 2 * one) / 3 for _, value in points], rel=1e-6
        )


@pytest.mark.parametrize(("x", "c", "value"), POWERS)
def test_the_compiled_powers(x: float, c: float, value: float) -> None:
    for values in evaluated(
        apply("mean", apply("pow", statistic("w"), exponent=c)), [[x], [x, 1.0]]
    ):
        assert values.tolist() == pytest.approx([value, (value + 1) / 2], rel=1e-6)


@pytest.mark.parametrize("op", REDUCTIONS)
def test_the_compiled_reductions(op: str) -> None:
    layers, expected = zip(*REDUCTIONS[op], strict=True)
    for values in evaluated(apply(op, statistic("w")), list(layers)):
        assert values.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("op", [op for op in COMPOSITES if OPS[op].name != "gram"])
def test_the_compiled_composites(op: str) -> None:
    """By a sum weighted with the squares of 1, 2, 3."""
    layers, expected = zip(*COMPOSITES[op], strict=True)
    weights = [[float(i * i) for i in range(1, len(x) + 1)] for x in layers]
    totals = [np.dot(x, y) for x, y in zip(weights, expected, strict=True)]
    for values in evaluated(
        apply("sum", apply("mul", apply(op, statistic("w")), statistic("grad"))),
        list(layers),
        weights,
    ):
        assert values.tolist() == pytest.approx(totals, rel=1e-6, abs=1e-6)


GRID = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -0.3, 1e-300, -1e300])
PAIRS = np.array(list(product(GRID, GRID))).T


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_kernels_hand_on_what_overflowed_as_the_reference_does(op: str) -> None:
    args = [row.copy() for row in (PAIRS if OPS[op].arity == 2 else (GRID,))]
    with np.errstate(all="ignore"):
        expected = reference.MEANINGS[op](*args)
    out = np.empty_like(args[0])
    with kernels.wide(), suppress(FloatingPointError):  # what raises has written its result
        kernels.KERNELS[op](*args, out)
    np.testing.assert_allclose(out, expected, rtol=1e-14)
    np.testing.assert_allclose(
        gpu.KERNELS[op](*map(torch.from_numpy, args)).numpy(), expected, rtol=1e-14
    )


@pytest.mark.parametrize("exponent", sorted({abs(c) for _, c, _ in POWERS}))
def test_powers_hand_on_what_overflowed_as_the_reference_does(exponent: float) -> None:
    node = apply("pow", statistic("w"), exponent=exponent)
    with np.errstate(all="ignore"):
        expected = reference.power(GRID, exponent)
    out = np.empty_like(GRID)
    with kernels.wide(), suppress(FloatingPointError):
        kernels.kernel(node)(GRID, out)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    np.testing.assert_allclose(
        gpu.kernel(node)(torch.from_numpy(GRID)).numpy(), expected, rtol=1e-12
    )
