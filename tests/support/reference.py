"""The meaning of every op in plain numpy: float64, one layer and one choice at a time.

This is what the compiled paths are tested against. It shares nothing with them but the statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr, postorder, walk
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.ops import INPUT, LITERAL, OPS, Class

Array = NDArray[np.float64]


def evaluate(expr: Expr, statistics: Statistics) -> Array:
    """The values of a layer expression: (choices, layers)."""
    arrays = _arrays(expr, statistics)
    values = np.empty((len(statistics.choices), len(statistics.layers)))
    with np.errstate(all="ignore"):
        for layer in range(values.shape[1]):
            done: dict[tuple[bytes, tuple[int, ...]], Any] = {}
            for choice in range(values.shape[0]):
                values[choice, layer] = _evaluate(
                    expr, _Place(statistics, arrays, layer, choice), done
                )
    return values


def score(expr: Expr, statistics: Statistics, configuration: Sequence[int]) -> float:
    """The value of a configuration expression under one choice, by index, for each layer."""
    arrays = _arrays(expr, statistics)
    places = [_Place(statistics, arrays, *pair) for pair in enumerate(configuration)]
    values: dict[bytes, Any] = {}
    with np.errstate(all="ignore"):
        for node in walk([expr], lambda node: () if node.op == "total" else node.args):
            if node.op == "total":
                value = sum(_evaluate(node.args[0], place, {}) for place in places)
            else:
                value = _apply(node, [values[arg.digest] for arg in node.args], places[0])
            values[node.digest] = value
    return float(values[expr.digest])


def _arrays(expr: Expr, statistics: Statistics) -> dict[str, Array]:
    return {
        str(node.value): statistics.array(str(node.value)).detach().cpu().numpy().astype(np.float64)
        for node in postorder(expr)
        if node.op == INPUT
    }


class _Place:
    """One layer under one choice: where its statistics are, and how many values tensors have."""

    def __init__(
        self, statistics: Statistics, arrays: dict[str, Array], layer: int, choice: int
    ) -> None:
        self.statistics, self.arrays, self.layer, self.choice = statistics, arrays, layer, choice

    def statistic(self, name: str) -> Any:
        row, data = INPUTS[name], self.arrays[name]
        if row.axis is not Axis.NONE:
            data = data[self.row(row.axis)]
        if row.kind is Kind.LAYER:
            return data[self.layer]
        start, stop = self.statistics.offsets[row.kind][self.layer : self.layer + 2]
        values = data[start:stop]
        return (
            values.reshape(self.statistics.rows[self.layer], -1)
            if row.kind is Kind.WEIGHT
            else values
        )

    def row(self, axis: Axis) -> int:
        """Which row of a statistic with this axis belongs to the choice."""
        choices = [(c.weight_bits, c.act_bits) for c in self.statistics.choices]
        if axis is Axis.CHOICE:
            return self.choice
        part = 0 if axis is Axis.WEIGHT_BITS else 1
        distinct = list(dict.fromkeys(pair[part] for pair in choices))
        return distinct.index(choices[self.choice][part])

    def total(self, kind: Kind) -> int:
        return (
            self.statistics.rows[self.layer] ** 2
            if kind is Kind.MATRIX
            else self.statistics.totals[kind][self.layer]
        )


def _evaluate(expr: Expr, place: _Place, done: dict[tuple[bytes, tuple[int, ...]], Any]) -> Any:
    """Values that no choice changes are kept in `done` from one choice of a layer to the next."""
    rows = (place.row(Axis.WEIGHT_BITS), place.row(Axis.ACT_BITS))

    def key(node: Expr) -> tuple[bytes, tuple[int, ...]]:
        return node.digest, tuple(
            row if node.axes & mask else -1 for row, mask in zip(rows, (1, 2), strict=True)
        )

    for node in postorder(expr):
        if key(node) not in done:
            done[key(node)] = _apply(node, [done[key(arg)] for arg in node.args], place)
    return done[key(expr)]


def _apply(node: Expr, args: Sequence[Any], place: _Place) -> Any:
    if node.op == LITERAL:
        return np.float64(node.value)
    if node.op == INPUT:
        return place.statistic(str(node.value))
    if node.op == "pow":
        return power(args[0], float(node.value))  # type: ignore[arg-type]
    counts = [place.total(node.args[0].kind)] if node.op in ("sum", "l1", "l2") else []
    value = MEANINGS[node.op](*args, *counts)
    if OPS[node.op].cls is Class.REDUCTION or node.op == "slogdet":
        return value if np.isfinite(value) else np.nan  # a reduction that overflows has no value
    return value


def inverse(x: Any) -> Any:
    return np.where(x == 0, 0.0, 1 / np.where(x == 0, 1.0, x))


def power(x: Any, c: float) -> Any:
    if c != int(c):
        base, c = (inverse(x), -c) if c < 0 else (x, c)
        return np.maximum(base, 0.0) ** c
    return np.power(inverse(x) if c < 0 else x, abs(c))


def variance(x: Any) -> Any:
    shifted = x - x.flat[0]  # the variance of equal values is exactly 0
    return np.mean((shifted - np.mean(shifted)) ** 2)


def mean(x: Any) -> Any:
    first = x.flat[0]
    return first + np.mean(x - first)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=0))
    return e / np.sum(e, axis=0)


def logsoftmax(x: Any) -> Any:
    shifted = x - np.max(x, axis=0)
    return shifted - np.log(np.sum(np.exp(shifted), axis=0))


def log_determinant(x: Any) -> Any:
    """Singular means: the least singular value is below n machine epsilons of the greatest."""
    if not np.all(np.isfinite(x)):
        return np.nan
    values = np.linalg.svd(x, compute_uv=False)
    return (
        np.sum(np.log(values))
        if values[-1] > len(x) * np.finfo(np.float64).eps * values[0]
        else 0.0
    )


MEANINGS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x * inverse(y),
    "neg": lambda x: -x,
    "abs": np.abs,
    "sign": np.sign,
    "relu": lambda x: np.maximum(x, 0.0),
    "inv": inverse,
    "sqrt": lambda x: np.sqrt(np.maximum(x, 0.0)),
    "log": lambda x: np.where(x <= 0, 0.0, np.log(np.where(x <= 0, 1.0, x))),
    "exp": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sum": lambda x, total: total * mean(x),
    "mean": mean,
    "std": lambda x: np.sqrt(variance(x)),
    "var": variance,
    "min": np.min,
    "max": np.max,
    "l1": lambda x, total: total * mean(np.abs(x)),
    "l2": lambda x, total: np.sqrt(total * mean(x**2)),
    "square": lambda x: x**2,
    "normalize": lambda x: (x - mean(x)) * inverse(np.sqrt(variance(x))),
    "min_max": lambda x: (x - np.min(x)) * inverse(np.max(x) - np.min(x)),
    "gram": lambda x: x @ x.T,
    "matmul": lambda x, y: x @ y.T,
    "softmax": softmax,
    "logsoftmax": logsoftmax,
    "slogdet": log_determinant,
}
assert MEANINGS.keys() | {"pow", "total"} == OPS.keys()
