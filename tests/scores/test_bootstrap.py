"""Intervals, against resampling rows one draw at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.scores.bootstrap import bootstrap
from emqlang.scores.correlation import RATIOS, Truth, at_top, spearman

ROWS, IMAGES = 60, 500


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def truth(rng: np.random.Generator) -> Truth:
    right = rng.random((ROWS, IMAGES)) < np.linspace(0.3, 0.9, ROWS)[:, None]
    return Truth(right.mean(1), right)


def noisy(truth: Truth, rng: np.random.Generator, *levels: float) -> np.ndarray[Any, Any]:
    return np.array([truth.values + level * rng.standard_normal(ROWS) for level in levels])


@pytest.mark.parametrize("by", ["truth", "score"])
@pytest.mark.parametrize("ties", [False, True])
def test_each_draw_is_a_ranking_of_the_rows_drawn(
    truth: Truth, rng: np.random.Generator, by: Any, ties: bool
) -> None:
    scores = noisy(truth, rng, 0.05, 0.3)
    if ties:
        scores = np.round(scores * 4)
    found = bootstrap(scores, truth, np.random.default_rng(7), 25, by=by).draws
    again = np.random.default_rng(7)
    times = again.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=25)
    values = truth.drawn(25, again)
    for draw in range(25):
        rows = np.repeat(np.arange(ROWS), times[draw])
        expected = [at_top(scores[:, rows], values[draw][rows], ratio, by) for ratio in RATIOS]
        assert found[draw] == pytest.approx(np.array(expected), abs=1e-9)


def test_intervals_hold_the_value_and_are_paired(truth: Truth, rng: np.random.Generator) -> None:
    scores = noisy(truth, rng, 0.05, 0.4)
    boot = bootstrap(scores, truth, rng, 200)
    low, high = boot.interval()
    value = spearman(scores, truth.values)
    assert ((low[-1] < value) & (value < high[-1])).all()
    worse = boot.difference(0)
    assert (worse[:, :, 0] == 0).all() and worse[1, -1, 1] < 0


def test_resampling_images_widens_the_interval(truth: Truth) -> None:
    """A truth read off few images is less certain than one that is given."""
    scores = truth.values[None]
    spread = [
        np.ptp(bootstrap(scores, known, np.random.default_rng(1), 200).interval()[:, -1, 0])
        for known in (Truth(truth.values), truth)
    ]
    assert spread[0] < 1e-9 < spread[1]


def test_same_generator_same_interval(truth: Truth, rng: np.random.Generator) -> None:
    scores = noisy(truth, rng, 0.1)
    a, b = (bootstrap(scores, truth, np.random.default_rng(3), 20).draws for _ in range(2))
    assert (a == b).all()


def test_what_is_constant_ranks_nothing(truth: Truth) -> None:
    assert (bootstrap(np.ones((1, ROWS)), truth, np.random.default_rng(0), 10).draws == 0).all()


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(EmqError) as refused:
        bootstrap(np.ones((1, 5)), Truth(np.arange(5.0)), np.random.default_rng(0))
    assert refused.value.diagnostics[0].code == "E406"
