"""Uniform bits: one choice for every group that may choose, the plainest answer to a budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.menu import Choice, width


def uniform(
    menu: Sequence[Choice], allowed: Bools, kept: Collection[int], budgets: Sequence[Budget]
) -> list[tuple[Choice, tuple[int, ...]]]:
    """The single choices that meet every budget, narrowest first, each with its configuration.

    allowed  (groups, choices), of which the groups `kept` have their own one
    Returns none where every group is kept.
    """
    free = [group for group in range(len(allowed)) if group not in kept]
    found: list[tuple[Choice, tuple[int, ...]]] = []
    for column in sorted(range(len(menu)), key=lambda column: width(menu[column])):
        row = np.asarray(allowed.argmax(axis=1))
        row[free] = column
        choices = tuple(int(choice) for choice in row)
        fits = all(budget.cost(choices) <= budget.limit for budget in budgets if budget.limit)
        if free and allowed[free, column].all() and fits:
            found.append((menu[column], choices))
    return found
