"""How far a program's value moves when its inputs and intermediate values move by one rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import LITERAL

Array = NDArray[Any]
EXACT = {LITERAL, "neg", "abs", "sign", "relu", "min", "max"}  # ops that never round
FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53


def difference(a: Array, b: Array) -> Array:
    """Relative to b; 0 where both are the same or neither is finite, infinite where one is not."""
    with np.errstate(all="ignore"):
        result = np.abs(a - b) / np.abs(b)
    result[np.isnan(result)] = np.inf
    result[(a == b) | (~np.isfinite(a) & ~np.isfinite(b))] = 0
    return result


def movement(expr: Expr, statistics: Statistics, rounding: float, tries: int = 4) -> Array:
    """The most that the reference moves, relatively, over several ways to round: (choices, layers).

    In float32, inputs, tensors, and layer values where they meet a tensor are rounded; in float64
    everything is.
    """
    return moved(lambda: reference.evaluate(expr, statistics), rounding, tries)


def moved(evaluate: Callable[[], Array], rounding: float, tries: int = 4) -> Array:
    """The most, relatively, that what the reference evaluates moves over several ways to round."""
    expected = evaluate()
    most = np.zeros_like(expected)
    for seed in range(tries):
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(reference, "_apply", _Rounding(rounding, np.random.default_rng(seed)))
            most = np.maximum(most, difference(evaluate(), expected))
    return most


class _Rounding:
    """`reference._apply` with every result that an op rounds moved up or down."""

    apply = staticmethod(reference._apply)

    def __init__(self, rounding: float, rng: np.random.Generator) -> None:
        self.rounding, self.rng = rounding, rng

    def __call__(self, node: Expr, args: Sequence[Any], place: Any) -> Any:
        tensor = node.kind is not Kind.LAYER
        if tensor:
            args = [
                self.move(arg, value) if arg.kind is Kind.LAYER else value
                for arg, value in zip(node.args, args, strict=True)
            ]
        value = self.apply(node, args, place)
        return (
            self.move(node, value) if tensor or not node.args or self.rounding == FLOAT64 else value
        )

    def move(self, node: Expr, value: Any) -> Any:
        changes_sign = node.op == "mul" and any(
            arg.op == LITERAL and abs(float(arg.value or 0)) == 1 for arg in node.args
        )
        if node.op in EXACT or changes_sign:
            return value
        moved = value * (1 + self.rounding * self.rng.choice([-1.0, 1.0], size=np.shape(value)))
        fits = (
            (np.abs(moved) > 1e-37) & (np.abs(moved) < 1e38) if self.rounding == FLOAT32 else False
        )
        return np.where(fits, np.asarray(moved).astype(np.float32).astype(np.float64), moved)
