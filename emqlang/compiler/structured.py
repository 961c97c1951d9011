"""Chains that need whole layers: softmax, logsoftmax, matmul, slogdet, in float64, layer by layer.

Products are cut into blocks so small that BLAS computes each on one thread, and elimination is
numpy's own arithmetic: the number of threads changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.form import REDUCTIONS, chain
from emqlang.compiler.kernels import TILE, kernel, wide
from emqlang.compiler.lower import Value
from emqlang.compiler.statistics import Statistics, on_host
from emqlang.compiler.threads import default_threads
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT, OPS, Class

Array = NDArray[np.float64]
# a product of matrices of this shape is below every BLAS's threshold for threads
_EDGE: Final = 64
_DEPTH: Final = 32


class LayerEngine:
    """Reduces whole layers, each on one thread, the largest first."""

    def __init__(self, statistics: Statistics, axes: Axes, threads: int | None = None) -> None:
        self.statistics, self.axes = statistics, axes
        self.threads = threads or default_threads()

    def reduce(
        self, values: Sequence[Value], scalar: Callable[[Value], Array]
    ) -> dict[Value, Array]:
        """Each reduction's value in every layer. `scalar` gives the layer values they read."""
        sizes = np.diff(self.statistics.offsets[Kind.WEIGHT])
        largest_first = np.argsort(-sizes, kind="stable").tolist()
        reduced = {value: np.empty(len(sizes)) for value in values}

        def work(task: tuple[int, Value]) -> None:
            layer, value = task
            reduced[value][layer] = self._value(value, layer, scalar)

        if tasks := list(product(largest_first, values)):
            with ThreadPoolExecutor(min(self.threads, len(tasks))) as pool:
                list(pool.map(work, tasks))
        return reduced

    def _value(self, value: Value, layer: int, scalar: Callable[[Value], Array]) -> float:
        results: dict[Expr, Any] = {}
        for node in (*chain(value.node), value.node):
            row = self.axes.project(value.node.axes, value.row, node.axes)
            if node.kind is Kind.LAYER and node is not value.node:
                results[node] = float(scalar(Value(node, row))[layer])
            elif node.op == INPUT:
                results[node] = self._matrix(node, row, layer)
            else:
                results[node] = evaluate(node, [results[arg] for arg in node.args])
        return float(results[value.node])

    def _matrix(self, node: Expr, row: int, layer: int) -> Array:
        """One layer's weight statistic as (output channels, fan-in)."""
        start, stop = self.statistics.offsets[node.kind][layer : layer + 2]
        whole = self.statistics.array(str(node.value))
        flat = on_host((whole[row] if node.axes else whole)[start:stop])
        return flat.astype(np.float64).reshape(self.statistics.rows[layer], -1)


def evaluate(node: Expr, operands: list[Any]) -> Any:
    """A node over one layer: tensors as matrices, layer values as numbers."""
    if node.op in STRUCTURED:
        with np.errstate(all="ignore"):
            return STRUCTURED[node.op](*operands)
    if node.op in _REDUCTIONS:
        with np.errstate(all="ignore"):
            return _REDUCTIONS[node.op](operands[0].ravel())
    return elementwise(node, operands)


def elementwise(node: Expr, operands: list[Any]) -> Array:
    """The kernels of the tiles, tile by tile."""
    shape = np.broadcast_shapes(*(np.shape(operand) for operand in operands))
    flat = [operand.ravel() if isinstance(operand, np.ndarray) else operand for operand in operands]
    out = np.empty(int(np.prod(shape)))
    run = kernel(node)
    with wide():
        for start in range(0, out.size, TILE):
            part = slice(start, start + TILE)
            try:
                run(*(x[part] if isinstance(x, np.ndarray) else x for x in flat), out[part])
            except FloatingPointError:
                continue  # inf - inf and the like: the kernel has written its NaN
    return out.reshape(shape)


def matmul(x: Array, y: Array) -> Array:
    """X Y^T."""
    out = np.zeros((len(x), len(y)))
    depth = x.shape[1] - x.shape[1] % _DEPTH
    rights = [
        (left, *_halves(y[left : left + _EDGE], depth, (1, 2, 0)))
        for left in range(0, len(y), _EDGE)
    ]
    for top in range(0, len(x), _EDGE):
        a, a_rest = _halves(x[top : top + _EDGE], depth, (1, 0, 2))
        for left, b, b_rest in rights:
            block = out[top : top + _EDGE, left : left + _EDGE]
            block += np.add.reduce(a @ b, axis=0)
            block += a_rest @ b_rest.T
    return out


def _halves(x: Array, depth: int, order: tuple[int, int, int]) -> tuple[Array, Array]:
    """A matrix up to a depth, in pieces stacked in an order of axes, and what lies beyond it."""
    stacked = x[:, :depth].reshape(len(x), -1, _DEPTH).transpose(order)
    return np.ascontiguousarray(stacked), x[:, depth:]


def softmax(x: Array) -> Array:
    e = np.exp(x - np.max(x, axis=0))
    result: Array = e / np.add.reduce(e, axis=0)
    return result


def logsoftmax(x: Array) -> Array:
    shifted = x - np.max(x, axis=0)
    result: Array = shifted - np.log(np.add.reduce(np.exp(shifted), axis=0))
    return result


def log_determinant(x: Array) -> float:
    """By elimination with row pivots; 0 for a matrix that is singular to working precision."""
    x = x.copy()
    least = len(x) * np.finfo(np.float64).eps * np.abs(x).max()
    total = 0.0
    for i in range(len(x)):
        best = i + int(np.abs(x[i:, i]).argmax())
        pivot = x[best, i]
        if np.isnan(pivot):
            return float("nan")
        if abs(pivot) <= least:
            return 0.0
        x[[i, best]] = x[[best, i]]
        total += float(np.log(abs(pivot)))
        x[i + 1 :, i + 1 :] -= np.multiply.outer(x[i + 1 :, i] / pivot, x[i, i + 1 :])
    return total


def _mean(x: Array) -> float:
    return float(x[0] + np.add.reduce(x - x[0]) / x.size)


def _var(x: Array) -> float:
    return float(np.add.reduce((x - _mean(x)) ** 2) / x.size)


STRUCTURED: Final[dict[str, Callable[..., Any]]] = {
    "matmul": matmul,
    "softmax": softmax,
    "logsoftmax": logsoftmax,
    "slogdet": log_determinant,
}
assert STRUCTURED.keys() == {op.name for op in OPS.values() if op.cls is Class.STRUCTURED}

_REDUCTIONS: Final[dict[str, Callable[[Array], float]]] = {
    "mean": _mean,
    "var": _var,
    "min": lambda x: float(np.min(x)),
    "max": lambda x: float(np.max(x)),
}
assert _REDUCTIONS.keys() == REDUCTIONS
