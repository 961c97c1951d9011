"""The ground truth of a table's rows, and how well anything could rank them.

Ceilings say what the table's noise leaves to be ranked, and what any sum over layers could reach:

images    accuracy on one half of the test images against the other, Spearman-Brown corrected to all
reruns    the same rows built again with other calibration images or another seed
additive  a score for each (group, choice), fitted by ridge regression to the ranks of other rows
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.bits.exact import Ints
from emqlang.quant.tables.table import Rerun, Table
from emqlang.scores.bootstrap import bootstrap, percentiles
from emqlang.scores.correlation import RATIOS, Array, Truth, at_top, parts, spearman
from emqlang.scores.ranks import ranks
from emqlang.scores.regret import regret, size_budgets

SPLITS = 200  # of the images into halves
FOLDS = 10  # of the rows, for the additive fit
# Each fold takes the best by an inner split.
PENALTIES = tuple(10.0**power for power in range(-2, 4))
ADDITIVE = "additive"
STRONG = 0.3  # |Spearman| of a layer's own bits above which --stratify holds the layer fixed
ENOUGH = 50  # rows that it leaves


@dataclass(frozen=True, eq=False)
class Ceiling:
    """Spearman's correlation at each of RATIOS with its 95 % interval, measured on `rows` rows."""

    name: str
    what: str
    rows: int
    rho: Array
    low: Array
    high: Array

    def as_dict(self) -> dict[str, Any]:
        """Of plain values."""
        arrays = {name: getattr(self, name).tolist() for name in ("rho", "low", "high")}
        return {**asdict(self), **arrays}


def truth_of(table: Table, by: str) -> Truth:
    """Accuracies of a table's rows, or negated losses. Raises E406 if the losses are not known."""
    if by == "top1":
        return Truth(table.accuracy, table.right)
    if np.isnan(table.loss).any():
        message = f"the table '{table.name}' does not know the losses of its rows"
        raise error("E406", message, "rank by top1")
    return Truth(-table.loss)


def regrets(table: Table, scores: Array) -> Array:
    """Regret (proxies,) of scores (proxies, rows) within the table's budgets, or those of sizes."""
    size = table.size.astype(np.float64)
    return regret(scores, table.accuracy, size, limits(table))


def limits(table: Table) -> Array:
    """The table's budgets in bytes, or else those of its rows' sizes."""
    return np.array(table.budgets, np.float64) if table.budgets else size_budgets(table.size)


def own_correlation(table: Table) -> NDArray[np.float64]:
    """Spearman's correlation (groups,) of each group's bits with the accuracy; 0 if constant.

    Within a table's budgets, if it has them: the mean over them.
    """
    bits, accuracy = table.bits.T.astype(np.float64), table.accuracy
    found = [spearman(bits[:, rows], accuracy[rows]) for rows in parts(table.strata, len(table))]
    return found[0] if len(found) == 1 else np.asarray(np.mean(found, axis=0))


def stratified(table: Table) -> tuple[Table, dict[str, str]]:
    """The rows in which each layer whose own bits reach STRONG has its usual width above the least.

    The strongest come first. One that would leave fewer than ENOUGH rows is only held above its
    least width, or left free.
    """
    strata: dict[str, str] = {}
    keep = np.ones(len(table), bool)
    strength = np.abs(own_correlation(table))
    for group in np.argsort(-strength, kind="stable"):
        if strength[group] <= STRONG:
            break
        bits = table.bits[:, group]
        widths, times = np.unique(bits[bits > bits.min()], return_counts=True)
        usual = int(widths[times.argmax()])
        ways = {
            f"at {usual} bits": bits == usual,
            f"above {bits.min()} bits": bits > bits.min(),
            "free": np.ones_like(keep),
        }
        how = next((how for how, rows in ways.items() if (keep & rows).sum() >= ENOUGH), "free")
        strata[table.groups[group]] = how
        keep &= ways[how]
    return table.take(keep), strata


def ceilings(table: Table, seed: int = 0) -> Iterator[Ceiling]:
    """All that a table has data for."""
    if table.right is not None:
        yield image_ceiling(table, np.random.default_rng(seed))
    for rerun in table.reruns:
        try:
            yield rerun_ceiling(table, rerun, np.random.default_rng(seed))
        except EmqError:  # E406: it has too few rows yet
            continue
    yield additive_ceiling(table, np.random.default_rng(seed))


def image_ceiling(table: Table, generator: np.random.Generator) -> Ceiling:
    """Each half of the images is once the truth and once the score."""
    assert table.right is not None
    rows, images = table.right.shape
    marks = table.right.astype(np.float32)
    rhos, resampled, each = [], [], parts(table.strata, rows)
    for _ in range(SPLITS):
        half = np.zeros(images, np.float32)
        half[generator.permutation(images)[: images // 2]] = 1
        first, second = ((marks @ part / part.sum()).astype(float) for part in (half, 1 - half))
        rhos.append(_corrected(first, second, table.strata))
        drawn = [part[generator.integers(len(part), size=len(part))] for part in each]
        sample = np.concatenate(drawn)
        strata = None if table.strata is None else table.strata[sample]
        resampled.append(_corrected(first[sample], second[sample], strata))
    low, high = percentiles(np.array(resampled))
    what = "one half of the test images against the other, corrected to all of them"
    return Ceiling("images", what, rows, np.mean(rhos, axis=0), low, high)


def _corrected(first: Array, second: Array, strata: Ints | None) -> Array:
    """Spearman-Brown: what twice the images would give."""
    rho = (_tops(first, second, strata) + _tops(second, first, strata)) / 2
    corrected: Array = 2 * rho / (1 + np.abs(rho))
    return corrected


def _tops(scores: Array, truth: Array, strata: Ints | None) -> Array:
    each = parts(strata, len(truth))
    found = [[at_top(scores[None, r], truth[r], ratio)[0] for ratio in RATIOS] for r in each]
    return np.array(found[0] if len(found) == 1 else np.mean(found, axis=0))


def rerun_ceiling(table: Table, rerun: Rerun, generator: np.random.Generator) -> Ceiling:
    """The rerun's accuracy, as a score, against the table's. Raises E406 for too few rows.

    Both were tested on the same images, so that only rows are resampled.
    """
    truth = Truth(table.accuracy[rerun.rows])
    changed = ", ".join(f"{name} {value}" for name, value in rerun.changed.items())
    what = f"the same rows built again with {changed}"
    strata = None if table.strata is None else table.strata[rerun.rows]
    return _ceiling(f"rerun {rerun.name}", what, rerun.accuracy, truth, generator, strata)


def additive_ceiling(table: Table, generator: np.random.Generator) -> Ceiling:
    """Predictions for each row from a fit to the others.

    The fit is to ranks, which are what is judged: one to accuracies follows the few worst rows.
    """
    truth = Truth(table.accuracy, table.right)
    regression = f"{FOLDS}-fold cross-validated ridge regression on ranks"
    scores = cross_validated(one_hot(table), ranks(table.accuracy), generator)
    what = f"a fitted score for each layer and choice, {regression}"
    return _ceiling(ADDITIVE, what, scores, truth, generator, table.strata)


def _ceiling(
    name: str,
    what: str,
    scores: Array,
    truth: Truth,
    generator: np.random.Generator,
    strata: Ints | None,
) -> Ceiling:
    rho = _tops(scores, truth.values, strata)
    low, high = bootstrap(scores[None], truth, generator, strata=strata).interval()[:, :, 0]
    return Ceiling(name, what, len(scores), rho, low, high)


def one_hot(table: Table) -> Array:
    """(rows, columns): one column for each group and choice that occurs."""
    pairs = product(range(len(table.groups)), range(len(table.menu)))
    columns = [table.choices[:, group] == choice for group, choice in pairs]
    return np.array([column for column in columns if column.any()], np.float64).T


def cross_validated(features: Array, target: Array, generator: np.random.Generator) -> Array:
    """Out-of-fold predictions of a ridge regression."""
    folds = np.array_split(generator.permutation(len(target)), FOLDS)
    predicted = np.empty(len(target))
    for fold in folds:
        others = np.setdiff1d(np.arange(len(target)), fold)
        penalty = _best_penalty(features[others], target[others], generator)
        predicted[fold] = _ridge(features[others], target[others], features[fold], penalty)
    return predicted


def _best_penalty(features: Array, target: Array, generator: np.random.Generator) -> float:
    order = generator.permutation(len(target))
    held, kept = order[: len(order) // 4], order[len(order) // 4 :]
    fits = [_ridge(features[kept], target[kept], features[held], p) for p in PENALTIES]
    losses = [np.square(fit - target[held]).mean() for fit in fits]
    return PENALTIES[int(np.argmin(losses))]


def _ridge(features: Array, target: Array, wanted: Array, penalty: float) -> Array:
    centre, mean = features.mean(0), target.mean()
    x = features - centre
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (target - mean))
    result: Array = (wanted - centre) @ weights + mean
    return result
