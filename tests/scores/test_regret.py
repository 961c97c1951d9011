"""Regret against its definition, row by row and budget by budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emqlang.scores.regret import BUDGETS, regret, size_budgets


def by_hand(
    scores: list[float], accuracy: list[float], size: list[int], limits: list[float]
) -> float:
    lost = []
    for limit in limits:
        rows = [row for row in range(len(size)) if size[row] <= limit]
        if not rows:
            continue
        highest = max(scores[row] for row in rows)
        preferred = [accuracy[row] for row in rows if scores[row] == highest]
        lost.append(max(accuracy[row] for row in rows) - sum(preferred) / len(preferred))
    return 100 * sum(lost) / len(lost)


@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
@settings(max_examples=60)
def test_regret_is_what_its_definition_says(seed: int, rows: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (3, rows)) * 1.0 if tied else rng.standard_normal((3, rows))
    accuracy, size = rng.random(rows), rng.integers(1, 30, rows)
    limits = size_budgets(size)
    assert len(limits) == BUDGETS
    expected = [
        by_hand(row.tolist(), accuracy.tolist(), size.tolist(), limits.tolist()) for row in scores
    ]
    assert regret(scores, accuracy, size, limits) == pytest.approx(expected, abs=1e-9)


def test_the_truth_has_none_and_its_opposite_has_the_most() -> None:
    rng = np.random.default_rng(0)
    accuracy, size = rng.random(100), rng.integers(1, 1000, 100)
    scores = np.stack([accuracy, rng.random(100), -accuracy])
    truth, drawn, worst = regret(scores, accuracy, size, size_budgets(size))
    assert 0 == truth < drawn < worst < 100


def test_a_constant_score_prefers_no_row() -> None:
    """It has the mean of all, in whatever order rows stand."""
    accuracy, size = np.array([0.5, 0.7, 0.9]), np.array([1, 1, 1])
    (lost,) = regret(np.zeros((1, 3)), accuracy, size, size_budgets(size))
    assert lost == pytest.approx(20)


def test_a_limit_below_every_size_is_left_out() -> None:
    accuracy, size = np.array([0.5, 0.9]), np.array([10, 20])
    scores = np.array([[1.0, 0.0]])
    assert regret(scores, accuracy, size, np.array([5.0, 10.0, 20.0])) == pytest.approx([20])
