"""NSGA-II, against its definition."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emqlang.evolve.typed.selection import (
    ParetoRank,
    fronts_of,
    pareto_ranks,
    survivors,
    tournament,
)

objectives = arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.integers(1, 3)),
    elements=st.integers(0, 5).map(float),
)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(objectives)
def test_fronts_are_peeled_off(values: np.ndarray) -> None:
    left = list(range(len(values)))
    for front in fronts_of(values):
        expected = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        assert front == expected
        left = [i for i in left if i not in front]
    assert not left


@given(objectives, st.integers(1, 20))
def test_the_better_front_survives(values: np.ndarray, size: int) -> None:
    kept = survivors(values, size)
    ranks = pareto_ranks(values)
    assert len(kept) == min(size, len(values)) == len(set(kept))
    gone = set(range(len(values))) - set(kept)
    assert not gone or max(ranks[i].front for i in kept) <= min(ranks[i].front for i in gone)


def test_the_ends_of_a_front_are_kept() -> None:
    values = np.array([[0.0, 4.0], [1.0, 3.0], [1.1, 2.9], [2.0, 2.0], [4.0, 0.0]])
    assert {0, 4} <= set(survivors(values, 3)) and 2 not in survivors(values, 4)
    ranks = pareto_ranks(values)
    assert [rank.front for rank in ranks] == [0] * 5
    assert ranks[0].crowding == np.inf and ranks[3].crowding == pytest.approx(2.9 / 4 + 2.9 / 4)


def test_a_tournament_prefers_the_better() -> None:
    ranks = [ParetoRank(1, 0.0), ParetoRank(0, 1.0), ParetoRank(0, 5.0), ParetoRank(2, 9.0)]
    wins = [tournament(ranks, 3, Random(seed)) for seed in range(400)]
    assert wins.count(2) > wins.count(1) > wins.count(0) > wins.count(3)
