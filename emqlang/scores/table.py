"""Score tables: a program's values in every layer under every choice, and the scores of groups.

S[group, choice]          higher means a better configuration
a configuration's score   the sum over groups of S[group, its choice] (Eq. 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.statistics import Choice
from emqlang.grammar.diagnostics import Diagnostic, error

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Configurations = NDArray[np.integer[Any]]  # columns of the menu

TIED: Final = {
    "sum": "the sum over the group's layers",
    "main": "the group's main layer",
    "mean": "the mean over the group's layers",
}
_ROUNDING: Final = 1e-12  # relative; a smaller fall is none
_NAMED: Final = 5  # groups that a warning names


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
    q        (layers,): the values without their bit weight; None where the choice changes more
    of_shape whether the program reads the network's shape alone, of which a 0 is as good as any
    unknown  layer -> why a statistic could not be measured there: its values mean nothing
    """

    layers: tuple[str, ...]
    choices: tuple[Choice, ...]
    groups: tuple[Group, ...]
    tied: str
    values: Array
    q: Array | None
    of_shape: bool = False
    unknown: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        menu = " ".join(map(str, self.choices))
        return f"ScoreTable({len(self.groups)} groups, choices {menu})"

    @cached_property
    def unmeasured(self) -> Mapping[str, str]:
        """Group -> why its scores mean nothing, for each whose scores read an unknown layer."""
        found: dict[str, str] = {}
        for group in self.groups:
            layers = (group.main,) if self.tied == "main" else group.layers
            names = [self.layers[layer] for layer in layers]
            reasons = [self.unknown[name] for name in names if name in self.unknown]
            if reasons:
                found[group.name] = reasons[0]
        return found

    @cached_property
    def scores(self) -> Array:
        """S: (groups, choices)."""
        with np.errstate(all="ignore"):  # infinities are reported as problems
            return tie(self.values, self.groups, self.tied)

    @property
    def finite(self) -> bool:
        """Whether it is, under every choice."""
        return bool(np.isfinite(self.scores).all())

    def score(self, configuration: Sequence[int]) -> float:
        """Eq. 3, for one column of the menu per group; not finite where no number is that large."""
        chosen = self.scores[np.arange(len(self.groups)), list(configuration)]
        if not np.isfinite(chosen).all():
            return float("nan")
        try:
            return float(sum(map(Fraction, chosen.tolist())))
        except OverflowError:
            return float("inf")

    def totals(self, configurations: Configurations) -> Array:
        """The scores (n,) of configurations (n, groups)."""
        return totals(self.scores, configurations)

    @cached_property
    def problems(self) -> tuple[Diagnostic, ...]:
        """E501 for every layer whose value is not finite and enters a score, or else the group."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[Diagnostic]:
        for group, scores in zip(self.groups, self.scores, strict=True):
            layers = (group.main,) if self.tied == "main" else group.layers
            rows = {layer: self.values[layer] for layer in layers}
            if np.isfinite([*rows.values()]).all():  # they may add up to no number
                rows = {group.main: scores}
            for layer, values in rows.items():
                bad = [
                    str(choice)
                    for choice, x in zip(self.choices, values, strict=True)
                    if not np.isfinite(x)
                ]
                if bad:
                    where = f"group '{group.name}' is not finite for {', '.join(bad)}"
                    message = f"the score of {where}"
                    yield Diagnostic("E501", message, path=self.layers[layer])

    @property
    def problem(self) -> Diagnostic | None:
        """All problems as one E501; None if there are none."""
        if len(self.problems) < 2:
            return next(iter(self.problems), None)
        first, *others = self.problems
        message = f"{first.message}, nor are the scores of {len(others)} more layers"
        return replace(first, message=message)

    @cached_property
    def falling(self) -> tuple[str, ...]:
        """Names of the groups where S falls as bits rise."""
        return falling(self.groups, self.choices, self.scores)

    def undecided(self, allowed: Bools | None = None) -> dict[str, str]:
        """Group -> why its scores prefer no choice over another.

        allowed  (groups, choices): what each group may choose; by default everything. A group with
                 one choice has nothing to decide
        """
        reasons: dict[str, str] = {}
        for index, (group, row) in enumerate(zip(self.groups, self.scores, strict=True)):
            among = row if allowed is None else row[allowed[index]]
            if len(among) > 1 and group.name in self.unmeasured:
                reasons[group.name] = self.unmeasured[group.name]
            elif len(among) > 1 and (value := _constant(among)) is not None:
                reasons[group.name] = f"the score is {value} for every choice"
        exact = self.of_shape and self.q is not None and len(reasons) < len(self.groups)
        return {} if exact else reasons

    @cached_property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W602 if there are such groups, naming the first few."""
        return fall_warning(self.falling, len(self.groups))


def falling(groups: Sequence[Group], choices: Sequence[Choice], scores: Array) -> tuple[str, ...]:
    """Names of the groups whose scores (groups, choices) fall as bits rise."""
    pairs = [
        (a, b)
        for a, low in enumerate(choices)
        for b, high in enumerate(choices)
        if _rises(low, high)
    ]
    low, high = (scores[:, [pair[i] for pair in pairs]] for i in (0, 1))
    with np.errstate(invalid="ignore"):
        falls = low - high > _ROUNDING * np.abs(low)
    return tuple(group.name for group, row in zip(groups, falls, strict=True) if row.any())


def fall_warning(names: Sequence[str], groups: int, *help: str) -> tuple[Diagnostic, ...]:
    """W602 about groups where the score falls, if there are any, naming the first few."""
    if not names:
        return ()
    more = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    message = f"the score falls as bits rise in {len(names)} of {groups} groups: {shown}"
    usual = "higher must mean better: a minus may be missing, or a factor be negative here"
    return (Diagnostic("W602", message, help=(usual, *help)),)


def totals(scores: Array, configurations: Configurations) -> Array:
    """The scores (..., n) of configurations (n, groups), from S (..., groups, choices).

    They have twelve digits of the largest, so that equal sums of the same numbers are equal in
    whatever order they were added.
    """
    with np.errstate(all="ignore"):
        sums: Array = scores[..., np.arange(scores.shape[-2]), configurations].sum(-1)
        largest = np.abs(sums).max(-1, keepdims=True, initial=0.0)
        fits = (largest > 0) & np.isfinite(largest)
        return np.where(fits, np.round(sums / largest, 12) * largest, sums)


def tie(values: Array, groups: Sequence[Group], tied: str) -> Array:
    """Values of layers (layers, ...) as those of groups (groups, ...), by a key of TIED."""
    return np.array([_TIE[tied](values, group) for group in groups])


def check_tied(tied: str) -> None:
    """Raises E403 for what is neither a key of TIED nor `auto`."""
    if tied not in (*TIED, "auto"):
        message = f"'{tied}' is not a way to score tied layers"
        raise error("E403", message, f"use one of {', '.join(TIED)}")


def _rises(low: Choice, high: Choice) -> bool:
    """Whether the second choice has more bits in one place and no fewer in the other."""
    a, b = (low.weight_bits, low.act_bits or 0), (high.weight_bits, high.act_bits or 0)
    return a != b and a[0] <= b[0] and a[1] <= b[1]


def _constant(scores: Array) -> str | None:
    """What all of these are, to rounding: '0' or 'the same'; None if they differ."""
    with np.errstate(invalid="ignore"):
        spread, largest = np.ptp(scores), np.abs(scores).max()
    if not spread <= _ROUNDING * largest:
        return None
    return "the same" if largest else "0"


_TIE: Final[Mapping[str, Callable[[Array, Group], Array]]] = {
    "sum": lambda values, group: values[list(group.layers)].sum(axis=0),
    "main": lambda values, group: values[group.main],
    "mean": lambda values, group: values[list(group.layers)].mean(axis=0),
}
assert _TIE.keys() == TIED.keys()
