"""Products and shifts: as near to the real value as is said, in 64 bits, or refused."""

from __future__ import annotations

import random
from fractions import Fraction

from emqlang.quant.integer.dyadic import HALF, Term, dyadic, nearest
from emqlang.quant.integer.edges import bits, power_of_two


def test_error_is_below_what_is_said_and_everything_fits() -> None:
    rng = random.Random(0)
    for _ in range(300):
        count = rng.choice([1, 2])
        terms = [
            Term(
                Fraction(rng.uniform(0.5, 1) * 2 ** rng.uniform(-24, 6)),
                *sorted(rng.randint(-(1 << 20), 1 << 20) for _ in range(2)),
                rng.randint(-255, 255),
            )
            for _ in range(count)
        ]
        intercept = Fraction(rng.uniform(-1000, 1000))
        found = dyadic(terms, intercept)
        assert found is not None and all(0 <= m < 1 << 31 for m in found.multipliers)
        for _ in range(10):
            given = [rng.randint(term.low, term.high) for term in terms]
            pairs = list(zip(given, terms, strict=True))
            real = sum((t.slope * (x - t.centre) for x, t in pairs), intercept)
            allowed = Fraction(1 + sum(abs(x - t.centre) for x, t in pairs), 1 << found.shift + 1)
            result = found(*given)
            assert abs(result - real) <= HALF + allowed
            assert found.low <= result <= found.high
            products = [x * m for x, m in zip(given, found.multipliers, strict=True)]
            partial = [sum(products[:end]) + found.constant for end in range(count + 1)]
            assert all(-(1 << 63) <= each < 1 << 63 for each in partial)


def test_the_longest_shift_that_fits_is_taken() -> None:
    found = dyadic([Term(Fraction(1, 3), -100, 100)], Fraction(0))
    assert found is not None and found.multipliers[0] >> 30 == 1
    wide = dyadic([Term(Fraction(1, 3), -100, 100)], Fraction(1 << 40))
    assert wide is not None and wide.shift < found.shift
    assert wide(3) == (1 << 40) + 1


def test_what_no_shift_holds_is_none() -> None:
    assert dyadic([Term(Fraction(1 << 31), 0, 1)], Fraction(0)) is None
    assert dyadic([Term(Fraction(1), 0, 1)], Fraction(1 << 63)) is None


def test_a_slope_of_zero_leaves_the_intercept() -> None:
    found = dyadic([Term(Fraction(0), -5, 5)], Fraction(7, 2))
    assert found is not None and [found(x) for x in (-5, 5)] == [4, 4]


def test_halves_go_up_as_a_shift_rounds() -> None:
    assert [nearest(Fraction(each, 2)) for each in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


def test_bits_and_powers_of_two() -> None:
    assert [bits(*each) for each in ((0, 0), (-1, 0), (0, 1), (-128, 127), (0, 128))] == [
        *(1, 1, 2, 8, 9)
    ]
    for value in (Fraction(1, 3), Fraction(1, 4), Fraction(5), Fraction(8), Fraction(9, 1024)):
        power = power_of_two(value)
        assert value <= power < 2 * value and power.numerator & (power.numerator - 1) == 0
