"""Budgets: what a limit is on, in which unit, and how it is written.

Costs are integers in the quantity's smallest unit, so that "within budget" is exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.exact import Ints


@dataclass(frozen=True)
class Quantity:
    """Something that a budget limits.

    unit   its smallest unit
    worth  each unit that users write -> what it is worth in the smallest
    shown  the unit that reports use
    """

    name: str
    option: str
    unit: str
    worth: Mapping[str, int]
    shown: str
    example: str

    @property
    def help(self) -> str:
        return f"write it like {self.option} {self.example}"


_DECIMAL: Final = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BYTES: Final = {**_DECIMAL, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_OPERATIONS: Final = {"M": 10**6, "G": 10**9, "T": 10**12}
_TIMES: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_QUANTITIES: Final = (
    Quantity("size", "--size", "bytes", _BYTES, "MiB", "4.5MiB"),
    Quantity("bops", "--bops", "bit operations", _OPERATIONS, "G", "72G"),
    Quantity("latency", "--latency", "nanoseconds", _TIMES, "ms", "3ms"),
    Quantity("avg-bits", "--avg-bits", "weight bits", {}, "bits", "3"),
)
QUANTITIES: Final[Mapping[str, Quantity]] = {quantity.name: quantity for quantity in _QUANTITIES}


@dataclass(frozen=True)
class Limits:
    """What is limited, as it is written: '4.5MiB', '72G', '3ms', '3'."""

    size: str | None = None
    bops: str | None = None
    latency: str | None = None
    avg_bits: str | None = None

    @property
    def limits(self) -> dict[str, str]:
        """Quantity -> limit, for every quantity that is limited."""
        limits = {name: getattr(self, name.replace("-", "_")) for name in QUANTITIES}
        return {name: text for name, text in limits.items() if text is not None}


@dataclass(frozen=True)
class Budget:
    """A limit on one quantity of a network.

    costs  (groups, choices), smallest units
    base   what the network costs whatever is chosen
    limit  the most that base and choices may cost together
    per    one shown unit in smallest units: 2 ** 20 for MiB, the number of weights for average bits
    """

    quantity: Quantity
    costs: Ints
    base: int
    limit: int
    per: int

    def __repr__(self) -> str:
        groups, choices = self.costs.shape
        return f"Budget({self.quantity.name}: {groups} groups, {choices} choices)"

    def cost(self, choices: tuple[int, ...]) -> int:
        """What a configuration costs, in smallest units."""
        return self.base + sum(int(row[c]) for row, c in zip(self.costs, choices, strict=True))

    def show(self, cost: int) -> str:
        return f"{cost / self.per:.4g} {self.quantity.shown}"


_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_limit(name: str, text: str, weights: int = 1) -> int:
    """A limit as written (`4.5MiB`, `72G`, `3ms`, `3.2`) in smallest units, rounded down.

    Average bits are over `weights` weights. Raises E404 for a number that is not positive or beyond
    all networks, or a missing or unknown unit.
    """
    quantity = QUANTITIES[name]
    match = _NUMBER.fullmatch(text)
    if match is None or not math.isfinite(float(match[1])):
        raise error("E404", f"'{text}' is not an amount of {name}", quantity.help)
    number, unit = Fraction(match[1]), match[2]
    if number <= 0:
        raise error("E404", f"a budget of '{text}' is not positive", quantity.help)
    if not quantity.worth and unit:
        raise error("E404", f"{name} has no unit, got '{unit}'", quantity.help)
    if quantity.worth and unit not in quantity.worth:
        missing = f"the unit '{unit}' is unknown" if unit else "the unit is missing"
        units = f"units of {name}: {', '.join(quantity.worth)}"
        raise error("E404", f"{missing} in '{text}'", units)
    limit = math.floor(number * (quantity.worth[unit] if quantity.worth else weights))
    if limit >= 2**63:
        raise error("E404", f"a budget of '{text}' is more than any network costs", quantity.help)
    return limit
