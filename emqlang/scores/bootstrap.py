"""Bootstrap intervals of rank correlations, over rows and over test images.

Rows are resampled by how often each is drawn, so that all resamples are ranked at once: a row drawn
three times stands three times in the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.scores.correlation import RATIOS, Array, By, Rows, Truth, count, parts

COVERAGE: Final = 0.95
DRAWS: Final = 1000
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Correlations of every proxy at every ratio in resamples of rows and images.

    draws  (draws, ratios, proxies); all proxies have the same resamples, so that differences
           between them are paired
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
    strata: NDArray[np.integer[Any]] | None = None,
) -> Bootstrap:
    """Resamples rows and, if it is known which images each row gets right, images.

    scores  (proxies, rows)
    strata  (rows,): rows are resampled within each, and correlations are means over them
    Raises E406 for too few rows.
    """
    each = parts(strata, scores.shape[1])
    times = [_times(len(rows), draws, generator) for rows in each]
    values = truth.drawn(draws, generator)
    found = [
        _correlations(scores[:, rows], values[:, rows], drawn, ratios, by)
        for rows, drawn in zip(each, times, strict=True)
    ]
    return Bootstrap(found[0] if len(found) == 1 else np.mean(found, axis=0))


def _times(rows: int, draws: int, generator: np.random.Generator) -> Array:
    """How often each row is drawn: (draws, rows)."""
    drawn = generator.multinomial(rows, np.full(rows, 1 / rows), size=draws)
    return drawn.astype(np.float64)


def _correlations(
    scores: Array, values: Array, times: Array, ratios: Sequence[float], by: By
) -> Array:
    """(draws, ratios, proxies), of scores (proxies, rows) and truths and times (draws, rows)."""
    proxies, rows = scores.shape
    draws = len(times)
    order = np.argsort(values, axis=-1, kind="stable")
    truth = np.take_along_axis(values, order, -1)
    best_first = np.argsort(-values, axis=-1, kind="stable")
    correlations = np.empty((draws, len(ratios), proxies))
    for place, ratio in enumerate(ratios):
        best = count(ratio, rows)
        top = _Top.of(times, best_first, truth, order, best)
        for proxy, row in enumerate(scores):
            if by == "score" and ratio != 1:
                own = np.broadcast_to(np.argsort(-row, kind="stable"), times.shape)
                top = _Top.of(times, own, truth, order, best)
            correlations[:, place, proxy] = top.spearman(row)
    return correlations


def percentiles(values: Array) -> Array:
    """The interval of COVERAGE along the first axis."""
    tail = (1 - COVERAGE) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0)


@dataclass(frozen=True, eq=False)
class _Top:
    """The best rows of every resample, and where the truth ranks them.

    rows       (rows,)        those that are among the best in any resample
    weights    (rows, draws)  how often a row is
    deviation  (rows, draws)  that, times how far its rank by the truth is above the mean rank
    spread     (draws,)       the sum of squares of those ranks' deviations
    best       how many the best are, a row counted as often as it was drawn
    Rows come first, so that taking some of them copies whole lines.
    """

    rows: Rows
    weights: Array
    deviation: Array
    spread: Array
    best: int

    @classmethod
    def of(cls, times: Array, best_first: Rows, truth: Array, order: Rows, best: int) -> _Top:
        """The `best` of rows drawn so many `times`; `order` sorts the truth upwards.

        All arrays are (draws, rows); `truth` is in that order.
        """
        weights = _best(times, best_first, best)
        ranks = _ranks(weights, order, truth) - (best + 1) / 2
        deviation, rows = weights * ranks, np.flatnonzero(weights.any(0))
        return cls(rows, weights.T[rows], deviation.T[rows], (deviation * ranks).sum(-1), best)

    def spearman(self, scores: Array) -> Array:
        """Spearman's correlation (draws,) of scores (rows,) with the truth; 0 for a constant.

        A row's rank is how many rows count up to it less half of those that share it, and
        deviations from the mean rank add up to 0.
        """
        scores = scores[self.rows]
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
        tied = len(starts) < len(scores)
        times, deviation = self.weights[order], self.deviation[order]
        if tied:
            times, deviation = (np.add.reduceat(x, starts) for x in (times, deviation))
        shared, cubes = _sharing(times, deviation) if tied else self._alone
        covariance = np.einsum("rd,rd->d", _running_sum(times), deviation) - shared / 2
        scale = np.sqrt(self.spread * (self.best**3 - cubes) / 12)
        result: Array = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 1e-9)
        return result

    @cached_property
    def _alone(self) -> tuple[Array, Array]:
        """What `_sharing` is of rows whose scores all differ."""
        return _sharing(self.weights, self.deviation)


def _sharing(times: Array, deviation: Array) -> tuple[Array, Array]:
    """Sums (draws,) over ranks that as many `times` share: of deviations shared, and of cubes."""
    cubes = np.einsum("rd,rd,rd->d", times, times, times)
    return np.einsum("rd,rd->d", times, deviation), cubes


def _running_sum(lines: Array) -> Array:
    """Of lines, in place: several times as fast as `cumsum` along the first axis."""
    for before, line in pairwise(lines):
        line += before
    return lines


def _best(times: Array, order: Rows, best: int) -> Array:
    """How often each row is among the `best`, `order` being best first: (draws, rows)."""
    stacked = np.take_along_axis(times, order, -1)
    before = stacked.cumsum(-1) - stacked
    weights = np.empty_like(times)
    np.put_along_axis(weights, order, np.clip(best - before, 0, stacked), -1)
    return weights


def _ranks(weights: Array, order: Rows, values: Array) -> Array:
    """Average ranks of rows that count `weights` times; `order` sorts `values` upwards.

    All arrays are (draws, rows).
    """
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
