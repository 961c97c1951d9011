"""Configurations: distinct, uniform, split, and in an order in which neighbours share prefixes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.tables.sampling import SEARCH_SHARE, by_prefix, cuts, draw, in_search

keys = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=12, unique=True)


def test_configurations_are_distinct_allowed_and_uniform() -> None:
    allowed = np.array([[1, 1, 1, 0]] * 6 + [[0, 0, 0, 1]], bool)
    found = draw(allowed, 300, np.random.default_rng(0))
    assert len({tuple(row) for row in found.tolist()}) == 300
    assert (found[:, 6] == 3).all() and (found[:, :6] < 3).all()
    for group in range(6):
        assert all(70 < count < 130 for count in Counter(found[:, group].tolist()).values())


def test_a_small_space_may_be_drawn_whole() -> None:
    allowed = np.ones((3, 3), bool)
    found = draw(allowed, 27, np.random.default_rng(1))
    assert len({tuple(row) for row in found.tolist()}) == 27
    with pytest.raises(EmqError, match="there are 27") as refused:
        draw(allowed, 28, np.random.default_rng(1))
    assert refused.value.diagnostics[0].code == "E407"


def test_the_same_seed_draws_the_same() -> None:
    allowed = np.ones((18, 3), bool)
    one, two, other = (draw(allowed, 50, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one == two).all() and (one != other).any()


def test_the_first_rows_may_be_searched_on() -> None:
    assert (
        sum(in_search(425)) == round(SEARCH_SHARE * 425) == 298
        and in_search(425)[0]
        and not in_search(425)[-1]
    )


@given(keys)
def test_cuts_are_what_later_rows_share(rows: list[tuple[int, ...]]) -> None:
    ordered = [rows[place] for place in by_prefix(rows)]
    for place, lengths in enumerate(cuts(ordered)):
        shared = {
            next(
                (i for i, (a, b) in enumerate(zip(ordered[place], later, strict=True)) if a != b), 4
            )
            for later in ordered[place + 1 :]
        }
        assert set(lengths) == shared - {0} and lengths == sorted(lengths, reverse=True)
