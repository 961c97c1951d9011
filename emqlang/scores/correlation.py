"""How well scores rank configurations: Spearman's correlation at the top, and other measures.

scores  (proxies, rows)   higher means a better configuration
truth   (rows,)           accuracy, or minus the loss

strata  (rows,)           or None: rows of different strata are not compared; figures are means over
                          strata

Ranks are average ranks, and every subset is ranked anew, as the paper's text has it; with global
ranks its Eq. 4 leaves [-1, 1]. A correlation with a constant is 0: it ranks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import error
from emqlang.scores.ranks import ranks

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
By = Literal["truth", "score"]

RATIOS: Final = (0.2, 0.5, 1.0)  # of the rows, the best ones
# Table 1 is the mean and deviation over five draws of 50 configurations.
PAPER_DRAWS: Final = 5
PAPER_ROWS: Final = 50


@dataclass(frozen=True, eq=False)
class Truth:
    """What was measured of configurations.

    values  (rows,)
    right   (rows, images): which images each row gets right, if that is known
    """

    values: Array
    right: NDArray[np.bool_] | None = None

    def drawn(self, draws: int, generator: np.random.Generator) -> Array:
        """Accuracy on images drawn anew, with replacement: (draws, rows).

        If images are not known, the values themselves.
        """
        if self.right is None:
            return np.broadcast_to(self.values, (draws, len(self.values)))
        images = self.right.shape[1]
        times = np.empty((draws, images), np.float32)
        for line in times:  # several times as fast as `Generator.multinomial`
            line[:] = np.bincount(generator.integers(images, size=images), minlength=images)
        always = self.right.all(axis=0)
        told = self.right.any(axis=0) & ~always  # images that tell rows apart
        counts = times[:, told] @ self.right[:, told].T.astype(np.float32)
        counts += times[:, always].sum(-1, keepdims=True)
        shares: Array = counts.astype(np.float64) / images
        return shares


def spearman(scores: Array, truth: Array) -> Array:
    """Spearman's rank correlation of each row of scores (..., n) with the truth (n,)."""
    return correlation(ranks(scores), ranks(truth))


def correlation(a: Array, b: Array) -> Array:
    """Pearson's correlation along the last axis; 0 where one side is constant."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    result: Array = np.divide((a * b).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)
    return result


def parts(strata: NDArray[np.integer[Any]] | None, rows: int) -> list[Rows]:
    """The rows of each stratum; all rows where there are no strata."""
    if strata is None:
        return [np.arange(rows)]
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def count(ratio: float, rows: int) -> int:
    """How many rows a ratio of them is: `int(ratio * rows)`. Raises E406 if fewer than two."""
    best = int(ratio * rows + 1e-9)
    if best < 2:
        message = f"{ratio:.0%} of {rows} rows are {best}: too few to rank"
        raise error("E406", message, "rank on all rows, or build a larger table")
    return best


def top(order_by: Array, ratio: float) -> Rows:
    """The best rows; of equals, the first. Raises E406."""
    return np.argsort(-order_by, kind="stable")[: count(ratio, len(order_by))]


def at_top(scores: Array, truth: Array, ratio: float, by: By = "truth") -> Array:
    """Spearman's correlation (proxies,) over the best rows.

    They are the best by the truth, or, as in the authors' code, by each proxy's own score.
    """
    if by == "truth" or ratio == 1:
        rows = top(truth, ratio)
        return spearman(scores[:, rows], truth[rows])
    tops = [top(row, ratio) for row in scores]
    return np.array(
        [spearman(row[best], truth[best]) for row, best in zip(scores, tops, strict=True)]
    )


def precision(scores: Array, truth: Array, ratio: float) -> Array:
    """The share (proxies,) of the truly best rows that a proxy counts among its best as many."""
    best = set(top(truth, ratio).tolist())
    return np.array([len(best & set(top(row, ratio).tolist())) / len(best) for row in scores])


def partial(scores: Array, truth: Array, held: Array) -> Array:
    """Spearman (proxies,) with what the ranks of `held` (rows,) explain taken out of both sides."""
    base = ranks(held)
    return correlation(_residual(ranks(scores), base), _residual(ranks(truth), base))


def _residual(a: Array, b: Array) -> Array:
    """What a linear fit on b leaves of a; rounding errors count as nothing."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean()
    left = a - (a @ b / max(float(b @ b), 1e-300))[..., None] * b
    return np.where(np.abs(left) > 1e-9 * len(b), left, 0.0)


def paper_protocol(
    scores: Array, truth: Array, generator: np.random.Generator, by: By = "truth"
) -> tuple[Array, Array]:
    """Mean and standard deviation over PAPER_DRAWS draws of PAPER_ROWS rows, as in Table 1.

    Each is (ratios, proxies). Raises E406 if there are fewer rows.
    """
    if len(truth) < PAPER_ROWS:
        raise error("E406", f"the paper draws {PAPER_ROWS} rows, and there are {len(truth)}")
    draws = [generator.choice(len(truth), PAPER_ROWS, replace=False) for _ in range(PAPER_DRAWS)]
    values = np.array(
        [[at_top(scores[:, rows], truth[rows], ratio, by) for ratio in RATIOS] for rows in draws]
    )
    return values.mean(0), values.std(0)
