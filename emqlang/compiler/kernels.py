"""What runs on a tile: one numpy kernel for each elementwise op.

Kernels write to their last argument. They run with division by zero and invalid operands raising,
which costs nothing: the processor keeps the flags, so log and inv mend their result only in tiles
that hold a value outside their domain. Under `narrow` overflow and underflow raise too: so is found
what float32 cannot hold, and it is computed again in float64, under `wide`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.expr import Expr
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import NEGATIVE

Array = NDArray[Any]
Kernel = Callable[..., Any]

TILE: Final = 1 << 18  # values; part of what every score means to the last bit

_ZEROS: Final = {np.dtype(dtype): np.zeros(TILE, dtype) for dtype in (np.float32, np.float64)}


def narrow() -> np.errstate:
    """In effect while kernels run in a type that may be too narrow."""
    return np.errstate(all="raise")


def wide() -> np.errstate:
    """In effect while kernels run in float64."""
    return np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore")


def _relu(x: Array, out: Array) -> None:
    zeros = _ZEROS[x.dtype][: x.size]  # numpy is three times slower with a scalar here
    np.maximum(x, zeros, out=out)


def _positive_or_one(x: Array, out: Array) -> Array:
    """x where it is positive or NaN, 1 elsewhere. Returns where that is.

    No branches: a random mask costs more than log.
    """
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


def log_of_nonnegative(x: Array, out: Array) -> None:
    try:
        np.log(x, out)
    except FloatingPointError:
        _log(x, out)


def _sigmoid(x: Array, out: Array) -> None:
    np.exp(np.negative(x, out), out)
    np.divide(1, np.add(out, 1, out), out)


def _power(exponent: float, x: Array, out: Array) -> None:
    """x ** exponent for an exponent >= 0.

    Small integers are products, by squaring from the highest bit down.
    """
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


KERNELS: Final[dict[str, Kernel]] = {
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
assert KERNELS.keys() == {op.name for op in OPS.values() if op.cls is Class.ELEMENTWISE}


def kernel(node: Expr) -> Kernel:
    """The kernel of an elementwise node, the shorter one where its operand's sign is proven."""
    if node.op == "pow":
        exponent = node.number
        return np.square if exponent == 2 else partial(_power, exponent)
    nonnegative = not node.args[0].sign & NEGATIVE
    return _OF_NONNEGATIVE.get(node.op, KERNELS[node.op]) if nonnegative else KERNELS[node.op]


_OF_NONNEGATIVE: dict[str, Kernel] = {"log": log_of_nonnegative, "sqrt": np.sqrt}
