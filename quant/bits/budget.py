"""Budgets: what a limit is on, in which unit, and how it is written.

Costs are integers in the quantity's smallest unit, so that "within budget" is exact.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.knapsack import Ints


@dataclass(frozen=True)
class Quantity:
    """Something a budget limits: its smallest unit, and what each unit that users write is worth in it."""

    name: str
    option: str
    unit: str
    worth: MappingProxyType[str, int]
    shown: str  # the unit that reports use
    example: str


def _units(**worth: int) -> MappingProxyType[str, int]:
    return MappingProxyType(worth)


_BYTES = _units(B=1, kB=10**3, KB=10**3, MB=10**6, GB=10**9, KiB=2**10, MiB=2**20, GiB=2**30)
QUANTITIES = MappingProxyType(
    {
        quantity.name: quantity
        for quantity in (
            Quantity("size", "--size", "bytes", _BYTES, "MiB", "4.5MiB"),
            Quantity(
                "bops", "--bops", "bit operations", _units(M=10**6, G=10**9, T=10**12), "G", "72G"
            ),
            Quantity(
                "latency",
                "--latency",
                "nanoseconds",
                _units(ns=1, us=10**3, ms=10**6, s=10**9),
                "ms",
                "3ms",
            ),
            Quantity("avg-bits", "--avg-bits", "weight bits", _units(), "bits", "3"),
        )
    }
)


@dataclass(frozen=True)
class Budget:
    """A limit on one quantity of a network.

    costs  (groups, choices), smallest units
    base   what the network costs whatever is chosen
    limit  the most that base and choices may cost together
    per    what one shown unit is, in smallest units: 2 ** 20 for MiB, the number of weights for average bits
    """

    quantity: Quantity
    costs: Ints
    base: int
    limit: int
    per: int

    def cost(self, choices: tuple[int, ...]) -> int:
        """What a configuration costs, in smallest units."""
        return self.base + int(self.costs[np.arange(len(choices)), list(choices)].sum())

    def show(self, cost: int) -> str:
        return f"{cost / self.per:.4g} {self.quantity.shown}"


_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*")


def parse_limit(name: str, text: str, weights: int = 1) -> int:
    """A limit as written (`4.5MiB`, `72G`, `3ms`, `3.2`) in smallest units, rounded down.

    Average bits are over `weights` weights. Raises E404 for a number that is not positive, or a missing or unknown unit.
    """
    quantity = QUANTITIES[name]
    match = _NUMBER.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        raise error(
            "E404",
            f"'{text}' is not an amount of {name}",
            f"write it like {quantity.option} {quantity.example}",
        )
    number, unit = Fraction(match[1]), match[2]
    if number <= 0:
        raise error(
            "E404",
            f"a budget of '{text}' is not positive",
            f"write it like {quantity.option} {quantity.example}",
        )
    if not quantity.worth:
        if unit:
            raise error(
                "E404",
                f"{name} has no unit, got '{unit}'",
                f"write it like {quantity.option} {quantity.example}",
            )
        return math.floor(number * weights)
    if unit not in quantity.worth:
        missing = f"the unit '{unit}' is unknown" if unit else "the unit is missing"
        raise error(
            "E404", f"{missing} in '{text}'", f"units of {name}: {', '.join(quantity.worth)}"
        )
    return math.floor(number * quantity.worth[unit])
