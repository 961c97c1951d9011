"""Bootstrap intervals of rank correlations, over rows and over test images.

Rows are resampled by how often each is drawn, so that all resamples are ranked at once: a row that is drawn three times
stands three times in the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emqlang.ranking import RATIOS, Array, By, Rows, Truth, count

COVERAGE = 0.95
DRAWS = 1000
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Values of every proxy at every ratio in `draws` resamples of rows and images: (draws, ratios, proxies).

    All proxies meet the same resamples, so that differences between them are paired.
    """

    draws: Array

    def interval(self) -> Array:
        """The percentile interval: (2, ratios, proxies)."""
        return percentiles(self.draws)

    def difference(self, proxy: int) -> Array:
        """The interval of every proxy's value minus that of one: (2, ratios, proxies)."""
        return percentiles(self.draws - self.draws[:, :, proxy, None])


def bootstrap(
    scores: Array,
    truth: Truth,
    generator: np.random.Generator,
    draws: int = DRAWS,
    ratios: Sequence[float] = RATIOS,
    by: By = "truth",
) -> Bootstrap:
    """Resamples rows and, where it is known which images each row gets right, images. scores: (proxies, rows).

    Raises E406 for too few rows.
    """
    proxies, rows = scores.shape
    times = generator.multinomial(rows, np.full(rows, 1 / rows), size=draws).astype(np.float64)
    values = truth.drawn(draws, generator)
    order = np.argsort(values, axis=-1, kind="stable")
    sorted_values = np.take_along_axis(values, order, -1)
    found = np.empty((draws, len(ratios), proxies))
    for place, ratio in enumerate(ratios):
        best = count(ratio, rows)
        weights = _best(times, np.argsort(-values, axis=-1, kind="stable"), best)
        ranks = _ranks(weights, order, sorted_values)
        for proxy, own in enumerate(scores):
            if by == "score" and ratio != 1:
                weights = _best(times, np.argsort(-own, kind="stable"), best)
                ranks = _ranks(weights, order, sorted_values)
            own_order = np.argsort(own, kind="stable")
            found[:, place, proxy] = _correlation(_ranks(weights, own_order, own[own_order]), ranks, weights)
    return Bootstrap(found)


def percentiles(values: Array) -> Array:
    """The interval of COVERAGE along the first axis."""
    tail = (1 - COVERAGE) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0)


def _best(times: Array, order: Rows, best: int) -> Array:
    """How often each row stands among the `best` ones, `order` (.., rows) naming them best first: (draws, rows)."""
    order = np.broadcast_to(order, times.shape)
    stacked = np.take_along_axis(times, order, -1)
    before = stacked.cumsum(-1) - stacked
    weights = np.empty_like(times)
    np.put_along_axis(weights, order, np.clip(best - before, 0, stacked), -1)
    return weights


def _ranks(weights: Array, order: Rows, values: Array) -> Array:
    """Average ranks (draws, rows) of rows that stand `weights` times each; `values` are in ascending `order`."""
    order = np.broadcast_to(order, weights.shape)
    stacked = np.take_along_axis(weights, order, -1)
    upto = stacked.cumsum(-1)
    new = np.ones(values.shape, bool)  # where another value begins
    new[..., 1:] = values[..., 1:] != values[..., :-1]
    ends = np.ones(values.shape, bool)
    ends[..., :-1] = new[..., 1:]
    low = np.maximum.accumulate(np.where(new, upto - stacked, 0.0), -1)
    high = np.minimum.accumulate(np.where(ends, upto, np.inf)[..., ::-1], -1)[..., ::-1]
    ranks = np.empty_like(weights)
    np.put_along_axis(ranks, order, (low + high + 1) / 2, -1)
    return ranks


def _correlation(a: Array, b: Array, weights: Array) -> Array:
    """Pearson's correlation along the last axis under weights; 0 where one side is constant."""
    total = weights.sum(-1, keepdims=True)
    a, b = (x - (weights * x).sum(-1, keepdims=True) / total for x in (a, b))
    scale = np.sqrt((weights * a * a).sum(-1) * (weights * b * b).sum(-1))
    result: Array = np.divide((weights * a * b).sum(-1), scale, out=np.zeros_like(scale), where=scale > 1e-9)
    return result
