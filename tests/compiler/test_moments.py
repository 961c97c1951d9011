"""Layers of equal values and of one value: what is exact in the reals is exact here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from conditioning import FLOAT64, difference, movement
from fakes import Bits, compile, fake, program

from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.kernels import TILE
from emqlang.compiler.run import run
from emqlang.grammar.expr import Expr

CONSTANT = [
    ("bits * mean(w)", lambda c, n: c),
    ("bits * sum(w)", lambda c, n: c * n),
    ("bits * min(w)", lambda c, n: c),
    ("bits * max(w)", lambda c, n: c),
    ("bits * l1(w)", lambda c, n: abs(c) * n),
    ("bits * l2(w) ** 2", lambda c, n: c * c * n),
    ("bits * var(w)", lambda c, n: 0),
    ("bits * std(w * numel)", lambda c, n: 0),
    ("bits * mean(normalize(w))", lambda c, n: 0),
    ("bits * l1(min_max(w))", lambda c, n: 0),
    ("bits * max(abs(w - mean(w)))", lambda c, n: 0),
    ("bits * mean(log(abs(w)))", lambda c, n: np.log(abs(c)) if c else 0),
    ("bits * mean(inv(w))", lambda c, n: 1 / c if c else 0),
]


@pytest.mark.parametrize("constant", [0.1, -0.3, 1e-20, -3e15, 0.0])
@pytest.mark.parametrize(("text", "expected"), CONSTANT, ids=[text for text, _ in CONSTANT])
def test_layers_of_equal_weights(constant: float, text: str, expected: Any) -> None:
    """Of one weight, of a few and of more than a tile; what is exact in the reals is exact here."""
    shapes = {"one": (1, 1), "few": (7, 3), "tile": (2, TILE // 2), "more": (3, TILE // 2 + 5)}
    base = fake(shapes=shapes, choices=(Bits(2),))
    stored = np.float32(constant)
    statistics = base.with_arrays(w=np.full(base.offsets["weight"][-1], stored))
    numel = np.array(base.totals["weight"], np.float64)
    wanted = 2 * np.array([expected(float(stored), n) for n in numel])
    for stored_as in (statistics, statistics.in_float64()):
        for engine in (None, GpuEngine(stored_as, Axes(stored_as.choices))):
            (values,) = run(compile([program(text)]), stored_as, engine=engine)
            np.testing.assert_allclose(values[0], wanted, rtol=1e-6)


def test_a_layer_of_one_weight(population: list[Expr]) -> None:
    statistics = fake(shapes={"one": (1, 1), "two": (2, 1)}, sampled=1).in_float64()
    some = population[::10]
    for values, form in zip(run(compile(some), statistics), some, strict=True):
        unclear = movement(form, statistics, FLOAT64) > 1e-10
        assert not (difference(values, reference.evaluate(form, statistics)) > 1e-9)[~unclear].any()
