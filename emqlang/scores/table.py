"""Score tables: a program's values in every layer under every choice, and the scores of groups of tied layers.

S[group, choice]                higher means a better configuration
score of a configuration        sum over groups of S[group, its choice] (Eq. 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.compiler.statistics import Choice, Statistics
from emqlang.grammar.canonical.form import multiply
from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.grammar.expr import Expr, literal, statistic

Array = NDArray[np.float64]

TIED = MappingProxyType(
    {
        "sum": "the sum over the group's layers",
        "main": "the group's main layer",
        "mean": "the mean over the group's layers",
    }
)
_ROUNDING = 1e-12  # relative; a fall within it is none
_NAMED = 5  # groups that a warning names


class Group(Protocol):
    """Layers, by index, that take one choice together; `main` stands for them in a sensitivity."""

    @property
    def name(self) -> str: ...
    @property
    def layers(self) -> Sequence[int]: ...
    @property
    def main(self) -> int: ...


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """One program on one network.

    layers   names
    choices  the menu
    groups   in the order of the rows of `scores`
    tied     how a group's layers make one score: a key of TIED
    values   (layers, choices)
    q        (layers,): the values without their bit weight; None where the choice changes more than that
    """

    layers: tuple[str, ...]
    choices: tuple[Choice, ...]
    groups: tuple[Group, ...]
    tied: str
    values: Array
    q: Array | None

    @cached_property
    def scores(self) -> Array:
        """S: (groups, choices)."""
        with np.errstate(all="ignore"):  # infinities are told as problems
            return np.array([_JOIN[self.tied](self.values, group) for group in self.groups])

    def score(self, configuration: Sequence[int]) -> float:
        """Eq. 3, for one column of the menu a group."""
        return fsum(self.scores[np.arange(len(self.groups)), list(configuration)])

    def totals(self, configurations: NDArray[np.integer[Any]]) -> Array:
        """The scores (n,) of configurations (n, groups), to twelve digits of the largest, so that equal sums of the same
        numbers are equal in whatever order they were added."""
        with np.errstate(all="ignore"):
            found: Array = self.scores[np.arange(len(self.groups)), configurations].sum(-1)
        largest = float(np.abs(found).max(initial=0.0))
        return found if not 0 < largest < np.inf else np.round(found / largest, 12) * largest

    @cached_property
    def problems(self) -> tuple[Diagnostic, ...]:
        """E501 for every layer whose value is not finite and enters a score."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[Diagnostic]:
        for group in self.groups:
            for layer in (group.main,) if self.tied == "main" else group.layers:
                bad = [
                    str(choice)
                    for choice, value in zip(self.choices, self.values[layer], strict=True)
                    if not np.isfinite(value)
                ]
                if bad:
                    message = (
                        f"the score of group '{group.name}' is not finite for {', '.join(bad)}"
                    )
                    yield Diagnostic("E501", message, path=self.layers[layer])

    @cached_property
    def falling(self) -> tuple[str, ...]:
        """Names of the groups where S falls as bits rise."""
        pairs = [
            (a, b)
            for a, low in enumerate(self.choices)
            for b, high in enumerate(self.choices)
            if _rises(low, high)
        ]
        low, high = (self.scores[:, [pair[i] for pair in pairs]] for i in (0, 1))
        with np.errstate(invalid="ignore"):
            falls = low - high > _ROUNDING * np.abs(low)
        return tuple(group.name for group, row in zip(self.groups, falls, strict=True) if row.any())

    @cached_property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W602 if there are such groups, naming the first few."""
        if not self.falling:
            return ()
        more = len(self.falling) - _NAMED
        names = ", ".join(self.falling[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        message = f"the score falls as bits rise in {len(self.falling)} of {len(self.groups)} groups: {names}"
        return (
            Diagnostic(
                "W602", message, help=("higher must mean better: a leading minus may be missing",)
            ),
        )

    @cached_property
    def fingerprint(self) -> Array:
        """S minus its first column, for a constant a group moves all configurations alike, over its largest entry.

        (groups, choices). It identifies a program on these statistics only; the fingerprint of -S is its negative.
        """
        with np.errstate(invalid="ignore"):
            moved: Array = self.scores - self.scores[:, :1]
        largest = np.abs(moved).max(initial=0.0)
        return moved / largest if largest > 0 else moved


def tabulate(
    programs: Sequence[Expr],
    statistics: Statistics,
    groups: Sequence[Group],
    tied: str = "auto",
    cache: Cache | None = None,
    threads: int | None = None,
) -> list[ScoreTable]:
    """Score tables of canonical programs (`Program.canonical`), evaluated together.

    `tied` is a key of TIED, or `auto`: main for a bit-weighted program, which is a sensitivity, sum for any other, which
    is a loss. Raises E403 for another word.
    """
    if tied not in (*TIED, "auto"):
        raise error(
            "E403", f"'{tied}' is not a way to score tied layers", f"use one of {', '.join(TIED)}"
        )
    weighted = [without_bits(program) for program in programs]
    plan = compile([*programs, *(q for q in weighted if q is not None)])
    values = run(plan, statistics, cache, threads)
    qs = iter(values[len(programs) :, 0])
    shared = tuple(statistics.layers), tuple(statistics.choices), tuple(groups)
    return [
        ScoreTable(
            *shared,
            ("sum" if q is None else "main") if tied == "auto" else tied,
            table.T,
            None if q is None else next(qs),
        )
        for table, q in zip(values, weighted, strict=False)
    ]


def without_bits(program: Expr) -> Expr | None:
    """Canonical Q of a canonical program that is `bits * Q`, Q the same under every choice, as 0 is `bits * 0`; else None."""
    rest, factors = program, list[Expr]()
    if rest == _ZERO:
        return rest
    while rest.op == "mul":
        rest, last = rest.args
        factors.append(last)
    factors = [rest, *reversed(factors)]
    others = [factor for factor in factors if factor != _BITS]
    if len(others) != len(factors) - 1 or any(factor.axes for factor in others):
        return None
    return multiply(others) if others else literal(1)


_BITS, _ZERO = statistic("bits"), literal(0)


def _rises(low: Choice, high: Choice) -> bool:
    """Whether the second choice has more bits in one place and no fewer in the other."""
    a, b = (low.weight_bits, low.act_bits or 0), (high.weight_bits, high.act_bits or 0)
    return a != b and a[0] <= b[0] and a[1] <= b[1]


_JOIN: MappingProxyType[str, Callable[[Array, Group], Array]] = MappingProxyType(
    {
        "sum": lambda values, group: values[list(group.layers)].sum(axis=0),
        "main": lambda values, group: values[group.main],
        "mean": lambda values, group: values[list(group.layers)].mean(axis=0),
    }
)
assert _JOIN.keys() == TIED.keys()
