"""Wide integers against Python's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emqlang.quant.bits.exact import at_most, limbs, narrow, plus, ranks, real, rough, whole, wide

numbers = st.lists(st.integers(0, 2**40) | st.integers(0, 2**300), min_size=1, max_size=12)


@given(numbers, st.data())
def test_sums_orders_and_limits_are_those_of_integers(
    values: list[int], data: st.DataObject
) -> None:
    count = limbs(2 * max(values))
    array = wide(values, count)
    assert narrow(array) == values
    other = data.draw(st.permutations(values))
    assert narrow(plus(array, wide(other, count))) == [
        a + b for a, b in zip(values, other, strict=True)
    ]
    limit = data.draw(st.sampled_from(values) | st.integers(0, max(values)))
    assert at_most(array, limit).tolist() == [value <= limit for value in values]
    places = ranks(array).tolist()
    for value, place, leading in zip(values, places, rough(array).tolist(), strict=True):
        for another, below, less in zip(values, places, rough(array).tolist(), strict=True):
            assert (value < another) == (place < below)
            assert value >= another or leading <= less


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_floats_are_whole_multiples_of_a_power_of_two(values: list[float]) -> None:
    exact, shift = whole(np.array(values), np.ones(len(values), bool))
    assert [real(number, shift) for number in exact] == values


def test_what_no_float_holds_is_infinite() -> None:
    assert (real(10**400, 0), real(-(10**400), 0), real(10**400, 1300)) == (
        float("inf"), float("-inf"), 10**400 / 2**1300,
    )  # fmt: skip
