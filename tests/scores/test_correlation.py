"""Ranking, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emqlang.grammar.diagnostics import EmqError
from emqlang.scores import correlation
from emqlang.scores.correlation import Truth

ROWS, IMAGES = 60, 500


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def truth(rng: np.random.Generator) -> Truth:
    right = rng.random((ROWS, IMAGES)) < np.linspace(0.3, 0.9, ROWS)[:, None]
    return Truth(right.mean(1), right)


def noisy(truth: Truth, rng: np.random.Generator, *levels: float) -> np.ndarray:
    return np.array([truth.values + level * rng.standard_normal(ROWS) for level in levels])


def test_spearman_is_scipys_with_average_ties(rng: np.random.Generator) -> None:
    scores, truth = (
        rng.integers(5, size=(4, ROWS)).astype(float),
        rng.integers(7, size=ROWS).astype(float),
    )
    expected = [stats.spearmanr(own, truth).statistic for own in scores]
    assert correlation.spearman(scores, truth) == pytest.approx(expected)


def test_a_constant_ranks_nothing() -> None:
    assert correlation.spearman(np.ones((1, 10)), np.arange(10.0)) == 0


def test_the_top_is_ranked_anew() -> None:
    truth = np.arange(10.0)
    score = np.array([[0, 1, 2, 3, 4, 9, 8, 7, 6, 5.0]])
    assert correlation.at_top(score, truth, 0.5) == pytest.approx(-1)
    assert correlation.at_top(score, truth, 0.5, by="score") == pytest.approx(-1)
    assert correlation.at_top(score, truth, 1.0) == correlation.spearman(score, truth)


def test_by_score_each_proxy_has_its_own_top() -> None:
    truth = np.array([0.0, 1, 2, 3])
    scores = np.array([[9.0, 8, 0, 1], [0, 1, 8, 9]])
    assert correlation.at_top(scores, truth, 0.5, by="score") == pytest.approx([-1, 1])


def test_k_is_rounded_down_but_not_by_float_error() -> None:
    assert len(correlation.top(np.arange(425.0), 0.2)) == 85
    assert len(correlation.top(np.arange(10.0), 0.29)) == 2
    assert len(correlation.top(np.arange(100.0), 0.29)) == 29


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(EmqError, match="too few to rank") as refused:
        correlation.at_top(np.ones((1, 5)), np.arange(5.0), 0.2)
    assert refused.value.diagnostics[0].code == "E406"


def test_precision_counts_the_best_that_are_found() -> None:
    truth = np.arange(10.0)
    scores = np.array([truth, -truth, [0, 0, 0, 0, 0, 0, 9, 0, 0, 8]])
    assert correlation.precision(scores, truth, 0.2) == pytest.approx([1, 0, 0.5])


def test_partial_correlation_takes_out_what_size_explains(rng: np.random.Generator) -> None:
    size = rng.permutation(ROWS).astype(float)
    other = rng.permutation(ROWS).astype(float)
    scores = np.array([size, size + 2 * other, np.exp(size / 9)])
    found = correlation.partial(scores, size + other, size)
    assert found[0] == 0 and found[2] == 0 and found[1] > 0.8

    ranks = [stats.rankdata(x) for x in (scores[1], size + other, size)]
    (ab, ah), bh = (np.corrcoef(ranks)[0, 1:], np.corrcoef(ranks)[1, 2])
    assert found[1] == pytest.approx((ab - ah * bh) / np.sqrt((1 - ah**2) * (1 - bh**2)))


def test_the_papers_protocol(truth: Truth, rng: np.random.Generator) -> None:
    mean, deviation = correlation.paper_protocol(noisy(truth, rng, 0.0, 0.3), truth.values, rng)
    assert mean.shape == deviation.shape == (3, 2)
    assert (
        mean[:, 0] == pytest.approx(1)
        and deviation[:, 0] == pytest.approx(0)
        and deviation[2, 1] > 0
    )
    with pytest.raises(EmqError, match="draws 50 rows"):
        correlation.paper_protocol(np.ones((1, 40)), np.arange(40.0), rng)
