"""What runs on a tile: one numpy kernel for each elementwise op, and the folds that reduce a tile to numbers.

Kernels write to their last argument. They run with division by zero and invalid operands raising, which costs nothing:
the processor keeps the flags, so log and inv mend their result only in tiles that hold a value outside their domain.
Under `narrow` overflow and underflow raise too: what float32 cannot hold is found, and done again in float64 (`wide`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.lower import Fold
from emqlang.grammar.expr import Expr
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import NEGATIVE

Array = NDArray[Any]
Kernel = Callable[..., Any]

TILE = 1 << 18  # values; part of what every score means to the last bit
BLOCK = (
    1 << 10
)  # values that one dot product adds before float64 takes over; BLAS uses one thread for so few

_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_ZEROS = {dtype: np.zeros(TILE, dtype) for dtype in _DTYPES}
_ONES = {dtype: np.ones(BLOCK, dtype) for dtype in _DTYPES}
_FAINT = {
    _DTYPES[0]: 1e-30,
    _DTYPES[1]: 0.0,
}  # a sum of products this small may have lost products to underflow


def narrow() -> np.errstate:
    """In effect while kernels run in a type that may be too narrow."""
    return np.errstate(all="raise")


def wide() -> np.errstate:
    """In effect while kernels run in float64."""
    return np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore")


def _relu(x: Array, out: Array) -> None:
    np.maximum(
        x, _ZEROS[x.dtype][: x.size], out=out
    )  # numpy is three times slower with a scalar here


def _positive_or_one(x: Array, out: Array) -> Array:
    """x where it is positive or NaN, 1 elsewhere. Says where that is. No branches: a random mask costs more than log."""
    outside: Array = np.less_equal(x, 0)
    _relu(x, out)
    np.add(out, outside, out)
    return outside


def _inv(x: Array, out: Array) -> None:
    try:
        np.divide(1, x, out)
    except FloatingPointError:
        zero = np.equal(x, 0)
        np.divide(1, np.add(x, zero, out), out)
        np.subtract(out, zero, out)


def _div(x: Any, y: Array, out: Array) -> None:
    _inv(y, out)
    np.multiply(x, out, out)


def _sqrt(x: Array, out: Array) -> None:
    _relu(x, out)
    np.sqrt(out, out)


def _log(x: Array, out: Array) -> None:
    _positive_or_one(x, out)
    np.log(out, out)


def _log_of_nonnegative(x: Array, out: Array) -> None:
    try:
        np.log(x, out)
    except FloatingPointError:
        _log(x, out)


def _sigmoid(x: Array, out: Array) -> None:
    np.exp(np.negative(x, out), out)
    np.divide(1, np.add(out, 1, out), out)


def _power(exponent: float, x: Array, out: Array) -> None:
    """x ** exponent for an exponent >= 0: small integers as products, by squaring from the highest bit down."""
    if exponent != int(exponent):
        outside = _positive_or_one(x, out)
        np.subtract(np.power(out, exponent, out), outside, out)
    elif not 1 <= exponent <= 16:
        np.power(x, exponent, out)
    else:
        np.copyto(out, x)
        for bit in f"{int(exponent):b}"[1:]:
            np.square(out, out)
            if bit == "1":
                np.multiply(out, x, out)


KERNELS: MappingProxyType[str, Kernel] = MappingProxyType(
    {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": _div,
        "pow": _power,
        "neg": np.negative,
        "abs": np.absolute,
        "sign": np.sign,
        "relu": _relu,
        "inv": _inv,
        "sqrt": _sqrt,
        "log": _log,
        "exp": np.exp,
        "sigmoid": _sigmoid,
    }
)
assert KERNELS.keys() == {op.name for op in OPS.values() if op.cls is Class.ELEMENTWISE}


def kernel(node: Expr) -> Kernel:
    """The kernel of an elementwise node, the shorter one where its operand's sign is proven."""
    if node.op == "pow":
        exponent = node.number
        return np.square if exponent == 2 else partial(_power, exponent)
    nonnegative = not node.args[0].sign & NEGATIVE
    return _OF_NONNEGATIVE.get(node.op, KERNELS[node.op]) if nonnegative else KERNELS[node.op]


_OF_NONNEGATIVE: dict[str, Kernel] = {"log": _log_of_nonnegative, "sqrt": np.sqrt}


class Moments(NamedTuple):
    """A tile reduced: a pivot, and the sums of the values' differences from it and of their squares.

    For min and max the pivot is the value and the sums are 0.
    """

    pivot: float
    sum: float = 0.0
    squares: float = 0.0


def _inner(x: Array, y: Array) -> float:
    """x . y: dot products of blocks, which float64 adds up."""
    rest = x.size % BLOCK
    if not rest:
        return float(sum(np.vecdot(x.reshape(-1, BLOCK), y.reshape(-1, BLOCK)).tolist()))
    return (_inner(x[:-rest], y[:-rest]) if x.size > BLOCK else 0.0) + float(
        np.dot(x[-rest:], y[-rest:])
    )


def _sum(x: Array) -> float:
    """The same with ones."""
    rest = x.size % BLOCK
    ones = _ONES[x.dtype]
    if not rest:
        return float(sum(np.vecdot(x.reshape(-1, BLOCK), ones).tolist()))
    return (_sum(x[:-rest]) if x.size > BLOCK else 0.0) + float(np.dot(x[-rest:], ones[:rest]))


def _uniform(x: Array) -> bool:
    """Whether the values may all be equal; then they are summed as differences from the first, which is exact."""
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
    """For x >= 0. One logarithm of four values' product, unless a product is 0 or leaves the range."""
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
    _log_of_nonnegative(x, scratch)
    return _mean(scratch, scratch)


def _min(x: Array, scratch: Array) -> Moments:
    return Moments(float(np.minimum.reduce(x)))


def _max(x: Array, scratch: Array) -> Moments:
    return Moments(float(np.maximum.reduce(x)))


FOLDS: MappingProxyType[Fold, Callable[..., Moments]] = MappingProxyType(
    {
        Fold.MEAN: _mean,
        Fold.VAR: _var,
        Fold.MIN: _min,
        Fold.MAX: _max,
        Fold.MEAN_OF_PRODUCT: _mean_of_product,
        Fold.MEAN_OF_LOG: _mean_of_log,
    }
)
assert FOLDS.keys() == set(Fold)
