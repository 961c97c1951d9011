"""What a score costs where it chooses: accuracy lost by the rows that it prefers within budgets.

scores    (proxies, rows)   higher means a better configuration
accuracy  (rows,)           shares of images
size      (rows,)           in any unit; budgets are in the same
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from emqlang.scores.correlation import Array

Bools = NDArray[np.bool_]

BUDGETS: Final = 17
# The smallest holds a tenth of the rows, the largest all but a tenth.
SHARES: Final = np.linspace(0.1, 0.9, BUDGETS)


def size_budgets(size: NDArray[np.number]) -> Array:
    """BUDGETS limits, at quantiles of the rows' sizes."""
    limits: Array = np.quantile(size.astype(np.float64), SHARES)
    return limits


def regret(scores: Array, accuracy: Array, size: NDArray[np.number], limits: Array) -> Array:
    """Mean regret (proxies,) over the limits, in percentage points; 0 is best.

    Within a limit it is the best accuracy of all rows of that size, less that of the row with the
    highest score: the mean of such rows where several have it. A limit below every size is left
    out.
    """
    limits = limits[limits >= size.min()]
    best = np.where(size <= limits[:, None], accuracy, -np.inf).max(-1)
    chosen = preferred(scores, size, limits)
    lost: Array = 100 * (best - chosen @ accuracy / chosen.sum(-1)).mean(-1)
    return lost


def preferred(scores: Array, size: NDArray[np.number], limits: Array) -> Bools:
    """(proxies, limits, rows): those with the highest score within each limit; several may have it.

    Within a limit below every size there is none.
    """
    within = size <= limits[:, None]
    inside = np.where(within, scores[:, None], -np.inf)
    chosen: Bools = within & (inside == inside.max(-1, keepdims=True))
    return chosen
