"""Ops on literals, under the protected meaning, as long as the result keeps its digits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Final

_MEANINGS: Final[Mapping[str, Callable[[float], float]]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "relu": lambda x: max(x, 0.0),
    "inv": lambda x: 1 / x if x else 0.0,
    "sqrt": lambda x: math.sqrt(max(x, 0.0)),
    "log": lambda x: math.log(x) if x > 0 else 0.0,
    "exp": math.exp,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else math.exp(x),
}

_NEVER_ZERO = ("exp", "sigmoid")


def sound(value: float) -> bool:
    """Whether a literal is finite, and not so small that it has lost digits for good."""
    return math.isfinite(value) and (value == 0 or abs(value) >= sys.float_info.min)


def folded(op: str, value: float) -> float | None:
    """An op on a literal, if that is sound."""
    try:
        result = float(_MEANINGS[op](value))
    except OverflowError:
        return None
    vanished = result == 0 and op in _NEVER_ZERO
    return result if sound(result) and not vanished else None


def times(x: float, y: float) -> float:
    """A product of literals. Raises ArithmeticError if it vanishes or leaves the finite numbers."""
    result = x * y
    if not math.isfinite(result) or (result == 0 and x and y):
        raise ArithmeticError(result)
    return result


def power_of(value: float, exponent: float) -> float:
    """A literal's power under the protected meaning. Raises ArithmeticError if it is not sound."""
    if value == 0:
        return 0.0
    result = float(value**exponent)
    if not sound(result) or result == 0:
        raise ArithmeticError(result)
    return result
