"""Both engines' kernels give the points of every op, and what the reference makes of overflow."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pytest
import reference
import torch
from fakes import Bits, compile, fake
from numpy.typing import NDArray
from points import COMPOSITES, ELEMENTWISE, POWERS, REDUCTIONS

from emqlang.compiler import gpu, kernels, structured
from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.run import run
from emqlang.grammar.expr import apply, statistic
from emqlang.grammar.ops import OPS, Class

Array = NDArray[Any]


def test_every_op_has_its_kernels() -> None:
    of = {cls: {op.name for op in OPS.values() if op.cls is cls} for cls in Class}
    assert kernels.KERNELS.keys() == gpu.KERNELS.keys() == of[Class.ELEMENTWISE]
    assert structured.STRUCTURED.keys() == of[Class.STRUCTURED]


def evaluated(
    text_of: Any, layers: list[list[float]], others: list[list[float]] | None = None
) -> list[Array]:
    """A program over w and grad, a layer per list of values: float32, float64, the GPU's engine."""
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
