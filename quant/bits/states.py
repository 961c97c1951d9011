"""States of a dynamic program: totals of costs and values, of which the undominated ones count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from emqlang.quant.bits.exact import Bools, Ints, Numbers, plus, ranks, rough, wide

_PAIRWISE: Final = 2_000  # up to which states of several budgets are compared pair by pair


@dataclass(frozen=True)
class States:
    """Totals reached so far, wide: a cost (limbs, n) for every budget, values (limbs, n)."""

    costs: tuple[Ints, ...]
    values: Ints

    def at(self, places: Ints) -> States:
        return States(tuple(cost[:, places] for cost in self.costs), self.values[:, places])

    def extend(self, costs: Numbers, values: Numbers) -> tuple[States, Ints, Ints]:
        """Every state with every option of one more group, without the dominated ones.

        Options cost (budgets, options) and are worth (options,). Returns states, parents, and the
        places of options.
        """
        new = States(
            tuple(_sums(x, c) for x, c in zip(self.costs, costs, strict=True)),
            _sums(self.values, values),
        )
        order = _best(np.stack([ranks(cost) for cost in new.costs]), new.values)
        return new.at(order), *np.divmod(order, len(values))


def _sums(totals: Ints, numbers: Numbers) -> Ints:
    """Every total (limbs, n) with every number."""
    added = wide(numbers.tolist(), len(totals))
    return plus(totals[:, :, None], added[:, None, :]).reshape(len(totals), -1)


def _best(costs: Ints, values: Ints) -> Ints:
    """The undominated states by cost: costs (budgets, n), values (limbs, n)."""
    places = np.arange(values.shape[1])
    if len(costs) == 1 and len(values) > 1:  # most go by their leading digits alone
        leading = rough(values)
        places = np.lexsort((-leading, costs[0]))
        leading = leading[places]
        ahead = leading - np.concatenate(([-1.0], np.maximum.accumulate(leading)[:-1]))
        places = places[ahead >= 0]
        if (ahead != 0).all():
            return places
    exact = ranks(values[:, places])
    order = np.lexsort((-exact, *costs[::-1, places]))
    return places[order[_undominated(costs[:, places[order]], exact[order])]]


def _undominated(costs: Ints, values: Ints) -> Bools:
    """Which states, sorted by cost and then by falling value, no earlier state makes pointless."""
    if len(costs) == 1:
        before = np.concatenate(([-1], np.maximum.accumulate(values)[:-1]))
        return np.asarray(values > before)
    fresh = np.ones(len(values), bool)
    fresh[1:] = (costs[:, 1:] != costs[:, :-1]).any(axis=0)
    if len(values) <= _PAIRWISE:
        cheaper = (costs[:, :, None] <= costs[:, None, :]).all(axis=0) & (values[:, None] >= values)
        fresh &= ~np.triu(cheaper, 1).any(axis=0)
    return fresh


def walk(stages: tuple[tuple[Ints, Ints], ...], point: int) -> tuple[int, ...]:
    """Back from a final state: every stage keeps each state's parent and choice."""
    taken = []
    for parents, choices in reversed(stages):
        taken.append(int(choices[point]))
        point = int(parents[point])
    return tuple(reversed(taken))
