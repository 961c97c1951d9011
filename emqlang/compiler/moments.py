"""Tiles reduced to numbers, and the numbers of a layer's tiles joined to the layer's value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.form import REDUCTIONS
from emqlang.compiler.kernels import log_of_nonnegative
from emqlang.compiler.lower import Fold

Array = NDArray[Any]

BLOCK: Final = 1 << 10  # values that one dot product adds; BLAS uses one thread for so few

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_ONES: Final = {dtype: np.ones(BLOCK, dtype) for dtype in (_FLOAT32, _FLOAT64)}
# a sum of products this small may have lost products to underflow
_FAINT: Final = {_FLOAT32: 1e-30, _FLOAT64: 0.0}


class Moments(NamedTuple):
    """A tile reduced: a pivot, and the sums of the differences from it and of their squares.

    Of min and max the pivot is the value, and the sums are 0.
    """

    pivot: float
    sum: float = 0.0
    squares: float = 0.0


def _inner(x: Array, y: Array) -> float:
    """x . y: dot products of blocks, which float64 adds up."""
    rest = x.size % BLOCK
    if not rest:
        return float(sum(np.vecdot(x.reshape(-1, BLOCK), y.reshape(-1, BLOCK)).tolist()))
    last = float(np.dot(x[-rest:], y[-rest:]))
    return _inner(x[:-rest], y[:-rest]) + last if x.size > BLOCK else last


def _sum(x: Array) -> float:
    """x . 1, in the same way."""
    rest = x.size % BLOCK
    ones = _ONES[x.dtype]
    if not rest:
        return float(sum(np.vecdot(x.reshape(-1, BLOCK), ones).tolist()))
    last = float(np.dot(x[-rest:], ones[:rest]))
    return _sum(x[:-rest]) + last if x.size > BLOCK else last


def _uniform(x: Array) -> bool:
    """Whether the values may all be equal.

    Then they are summed as differences from the first, which is exact.
    """
    return bool(x[0] == x[-1] == x[x.size >> 1])


def _mean(x: Array, scratch: Array) -> Moments:
    if _uniform(x):
        return Moments(float(x[0]), _sum(np.subtract(x, x[0], scratch)))
    return Moments(0.0, _sum(x))


def _var(x: Array, scratch: Array) -> Moments:
    pivot = x[0] if _uniform(x) else x.dtype.type(_sum(x) / x.size)
    total = _sum(np.subtract(x, pivot, scratch))
    return Moments(float(pivot), total, _sum(np.square(scratch, scratch)))


def _mean_of_product(x: Array, y: Array, scratch: Array) -> Moments:
    if _uniform(x) and _uniform(y):
        return _mean(np.multiply(x, y, scratch), scratch)
    total = _inner(x, y)
    if abs(total) < _FAINT[x.dtype]:
        raise FloatingPointError("underflow in a sum of products")
    return Moments(0.0, total)


def _mean_of_log(x: Array, scratch: Array) -> Moments:
    """For x >= 0. One logarithm of four values' product, unless that is 0 or leaves the range."""
    rest = x.size % 4
    quarter = x.size // 4
    if quarter and not _uniform(x):
        a, b, c, d = x[: 4 * quarter].reshape(4, -1)
        product, other = scratch[:quarter], scratch[quarter : 2 * quarter]
        try:
            np.multiply(np.multiply(a, b, product), np.multiply(c, d, other), product)
            total = _sum(np.log(product, product))
            return Moments(0.0, total + (_sum(np.log(x[-rest:])) if rest else 0.0))
        except FloatingPointError:
            pass
    log_of_nonnegative(x, scratch)
    return _mean(scratch, scratch)


def _min(x: Array, scratch: Array) -> Moments:
    return Moments(float(np.minimum.reduce(x)))


def _max(x: Array, scratch: Array) -> Moments:
    return Moments(float(np.maximum.reduce(x)))


FOLDS: Final[dict[Fold, Callable[..., Moments]]] = {
    Fold.MEAN: _mean,
    Fold.VAR: _var,
    Fold.MIN: _min,
    Fold.MAX: _max,
    Fold.MEAN_OF_PRODUCT: _mean_of_product,
    Fold.MEAN_OF_LOG: _mean_of_log,
}
assert FOLDS.keys() == set(Fold)


class Layers:
    """Which tiles make up which layer: the tiles of a layer stand together, in its order."""

    def __init__(self, layers: Sequence[int], sizes: Sequence[int]) -> None:
        """For each tile, its layer and how many values it has."""
        self.layers, self.sizes = np.array(layers), np.array(sizes, np.float64)[:, None]
        self.starts = np.flatnonzero(np.diff(self.layers, prepend=-1))
        self.numbers = np.diff(self.starts, append=len(layers))
        self.totals = self.join(np.add, self.sizes)

    def join(self, op: np.ufunc, values: Array) -> Array:
        """(tiles, n) to (layers, n), in the order of the tiles."""
        result = values[self.starts]
        for turn in range(1, int(self.numbers.max())):
            more = self.numbers > turn
            result[more] = op(result[more], values[self.starts[more] + turn])
        return result

    def mean(self, pivots: Array, sums: Array, squares: Array) -> Array:
        """About the pivot of a layer's first tile, for pivots may differ."""
        first = pivots[self.starts]
        moved = sums + self.sizes * (pivots - first[self.layers])
        return first + self.join(np.add, moved) / self.totals

    def var(self, pivots: Array, sums: Array, squares: Array) -> Array:
        """Within the tiles, and between them."""
        within = np.maximum(squares - sums**2 / self.sizes, 0)
        means = pivots + sums / self.sizes
        mean = self.mean(pivots, sums, squares)
        between = self.sizes * (means - mean[self.layers]) ** 2
        return self.join(np.add, within + between) / self.totals

    def min(self, pivots: Array, sums: Array, squares: Array) -> Array:
        return self.join(np.minimum, pivots)

    def max(self, pivots: Array, sums: Array, squares: Array) -> Array:
        return self.join(np.maximum, pivots)


# for each reduction, (tiles, n) pivots, sums and squares to (layers, n) values
JOINS: Final = {"mean": Layers.mean, "var": Layers.var, "min": Layers.min, "max": Layers.max}
assert JOINS.keys() == REDUCTIONS
