"""Integers of any size in arrays: sums and comparisons of scores and costs that round nothing.

Floats are whole multiples of one power of two, so that a table of scores is a table of integers.
A wide array has them as limbs: int64 (limbs, ...), the most significant first, each in [0, 2**52).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Numbers = NDArray[np.object_]  # Python's integers

_BITS: Final = 52  # a limb is a float, and the sum of two is rounded once
_MASK: Final = (1 << _BITS) - 1


def whole(values: NDArray[Any], used: Bools) -> tuple[Numbers, int]:
    """Values as multiples of 2 ** -shift: (integers, shift). What is not used is 0."""
    ratios = [
        value.as_integer_ratio() if use else (0, 1)
        for value, use in zip(values.ravel().tolist(), used.ravel().tolist(), strict=True)
    ]
    shift = max((bottom.bit_length() - 1 for _, bottom in ratios), default=0)
    numbers = np.empty(len(ratios), object)
    numbers[:] = [top << shift + 1 - bottom.bit_length() for top, bottom in ratios]
    return numbers.reshape(values.shape), shift


def real(number: int, shift: int) -> float:
    """number / 2 ** shift, rounded once; infinite where no float is that large."""
    try:
        return number / (1 << shift)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def added(values: NDArray[Any]) -> float:
    """The sum of finite values, rounded once; infinite where no float is that large."""
    numbers, shift = whole(values, np.ones(values.shape, bool))
    return real(sum(numbers.ravel().tolist()), shift)


def limbs(largest: int) -> int:
    """How many limbs hold every integer up to the largest."""
    return max(1, -(-largest.bit_length() // _BITS))


def wide(numbers: Sequence[int], count: int) -> Ints:
    """Integers >= 0 in so many limbs."""
    shifts = range(_BITS * (count - 1), -1, -_BITS)
    return np.array([[number >> shift & _MASK for number in numbers] for shift in shifts], np.int64)


def narrow(array: Ints) -> list[int]:
    """The integers of a wide array (limbs, n)."""
    return [
        sum(limb << _BITS * place for place, limb in enumerate(reversed(column)))
        for column in array.T.tolist()
    ]


def plus(x: Ints, y: Ints) -> Ints:
    """The sum of two wide arrays, which broadcast."""
    total = x + y
    for place in range(len(total) - 1, 0, -1):
        total[place - 1] += total[place] >> _BITS
        total[place] &= _MASK
    return total


def ranks(array: Ints) -> Ints:
    """One integer for each of a wide array (limbs, n), in the same order, equal for equal."""
    if len(array) == 1:
        return np.asarray(array[0])
    order = np.lexsort(array[::-1])
    steps = (np.diff(array[:, order]) != 0).any(axis=0)
    result = np.zeros(array.shape[1], np.int64)
    result[order[1:]] = np.cumsum(steps)
    return result


def rough(array: Ints) -> Floats:
    """A float for each of a wide array (limbs, n), in the same order, or equal.

    It is the two highest limbs, rounded once.
    """
    high = array[0].astype(np.float64)
    return high if len(array) == 1 else np.asarray(high * 2.0**_BITS + array[1])


def at_most(array: Ints, limit: int) -> Bools:
    """Which of a wide array (limbs, n) are no greater than a limit that as many limbs hold."""
    fits = np.ones(array.shape[1], bool)
    for row, bound in zip(array[::-1], wide([limit], len(array))[::-1, 0], strict=True):
        fits = (row < bound) | ((row == bound) & fits)
    return fits


def approximate(array: Ints, shift: int) -> Floats:
    """A wide array (limbs, n) / 2 ** shift, to fifteen digits."""
    places = range(_BITS * (len(array) - 1), -1, -_BITS)
    parts = [
        np.ldexp(row.astype(np.float64), place - shift)
        for row, place in zip(array, places, strict=True)
    ]
    total: Floats = np.sum(parts, axis=0)
    return total
