"""Rescaling without floating point: a ratio of scales becomes m / 2^s, a product and a shift.

Source: HAWQ-V3, arXiv 2011.10680, section 3.1 (dyadic numbers). What is added here: biases and zero
points go into the constant of the shift, at 2^-s of an output step, so that they are not rounded to
the step of the accumulator, which is coarse where weights have few bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

MULTIPLIER = 31  # bits: m < 2^31, so that m is an int32
PRODUCT = 63  # bits: |x * m + c| < 2^63, so that it is an int64
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Term:
    """One operand: `slope * (x - centre)`, for whole x from `low` to `high`."""

    slope: Fraction
    low: int
    high: int
    centre: int = 0


@dataclass(frozen=True)
class Dyadic:
    """`(x1 * m1 + x2 * m2 + ... + c) >> s`, and the whole numbers that it lies between.

    The constant c holds 2^(s-1), which rounds the shift to the nearest, half up.
    """

    multipliers: tuple[int, ...]
    constant: int
    shift: int
    low: int
    high: int

    def __call__(self, *operands: int) -> int:
        products = (x * m for x, m in zip(operands, self.multipliers, strict=True))
        return (sum(products) + self.constant) >> self.shift


def dyadic(terms: Sequence[Term], intercept: Fraction) -> Dyadic | None:
    """The sum of the terms and the intercept, rounded, with the longest shift that fits.

    Slopes are positive or 0. Before the shift rounds, the result is off by at most 2^-(s+1) times
    1 plus the sum of |x - centre|. None where m < 2^31 and 64 bits allow no shift of 1 or more.
    """
    largest = max((term.slope for term in terms), default=Fraction(0))
    start = 61 if not largest else min(61, MULTIPLIER + 1 - _exponent(largest))
    for shift in range(start, 0, -1):
        found = _at(terms, intercept, shift)
        if found is not None:
            return found
    return None


def nearest(value: Fraction) -> int:
    """Half up, as a shift rounds."""
    return floor(value + HALF)


def _at(terms: Sequence[Term], intercept: Fraction, shift: int) -> Dyadic | None:
    """With this shift; None where it does not fit."""
    unit = 1 << shift
    multipliers = tuple(nearest(term.slope * unit) for term in terms)
    pairs = list(zip(multipliers, terms, strict=True))
    constant = nearest(intercept * unit) + unit // 2 - sum(m * term.centre for m, term in pairs)
    low = constant + sum(m * term.low for m, term in pairs)
    high = constant + sum(m * term.high for m, term in pairs)
    # partial sums, too, in any order
    reach = abs(constant) + sum(m * max(abs(term.low), abs(term.high)) for m, term in pairs)
    if reach >> PRODUCT or any(m >> MULTIPLIER for m in multipliers):
        return None
    return Dyadic(multipliers, constant, shift, low >> shift, high >> shift)


def _exponent(value: Fraction) -> int:
    """k with 2^(k-2) < value < 2^(k+1)."""
    return value.numerator.bit_length() - value.denominator.bit_length() + 1
