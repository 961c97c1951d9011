"""Ranks and Kendall's tau against scipy, with and without ties."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emqlang.scores.ranks import inversions, kendall_tau, ranks


@st.composite
def lines(draw: st.DrawFn) -> np.ndarray:
    """(m, n) values, of which few or many are equal."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    of = st.integers(0, draw(st.integers(0, 50))).map(lambda n: n / 3) | st.floats(-1e3, 1e3)
    values = draw(st.lists(of, min_size=rows * columns, max_size=rows * columns))
    return np.array(values).reshape(rows, columns)


@given(lines())
def test_ranks_are_scipys(values: np.ndarray) -> None:
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values, axis=-1))
    np.testing.assert_array_equal(ranks(values[0]), stats.rankdata(values[0]))


def test_a_line_with_a_nan_has_no_ranks() -> None:
    found = ranks(np.array([[1.0, np.nan, 0.0], [1.0, np.inf, -np.inf]]))
    np.testing.assert_array_equal(found, [[np.nan] * 3, [2, 3, 1]])


def test_no_lines_have_no_ranks() -> None:
    assert ranks(np.empty((0, 5))).shape == (0, 5)


@given(lines())
def test_tau_is_scipys(values: np.ndarray) -> None:
    truth = values[-1]
    with warnings.catch_warnings(action="ignore"):  # scipy says that one value is too few
        expected = [np.nan_to_num(stats.kendalltau(row, truth).statistic) for row in values]
    assert kendall_tau(values, truth) == pytest.approx(np.array(expected), abs=1e-12)


@given(lines())
def test_inversions_are_pairs_with_the_larger_first(values: np.ndarray) -> None:
    expected = [sum(a > b for a, b in combinations(row, 2)) for row in values.tolist()]
    np.testing.assert_array_equal(inversions(values), expected)
