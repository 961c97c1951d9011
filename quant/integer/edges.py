"""Tensors of an integer network: what their codes stand for, and which codes they may hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

INT32 = 31  # bits of a magnitude
FINE = 30  # bits that the largest code of a fine step takes


@dataclass(frozen=True)
class Grid:
    """The codes of one activation quantizer, 0 to `highest`."""

    step: Fraction
    zero: int
    highest: int


@dataclass(frozen=True)
class Edge:
    """A tensor of codes: each stands for (code - zero) * step, and lies from `low` to `high`.

    grid  the quantizer that its codes are those of, if one has been passed
    """

    step: Fraction
    zero: int
    low: int
    high: int
    grid: Grid | None = None

    @property
    def values(self) -> tuple[Fraction, Fraction]:
        """The least and the largest value."""
        return (self.low - self.zero) * self.step, (self.high - self.zero) * self.step

    def reading(self, grid: Grid) -> bool:
        """Whether its codes are those of a grid as they are."""
        same = (self.step, self.zero) == (grid.step, grid.zero)
        return same and self.low >= 0 and self.high <= grid.highest


@dataclass(frozen=True)
class Form:
    """The step and zero point that an operation's result gets, and the codes that are kept."""

    step: Fraction
    zero: int = 0
    low: int = -(1 << INT32)
    high: int = (1 << INT32) - 1


@dataclass(frozen=True)
class Want:
    """What those who read a tensor make of it.

    grid  the one quantizer that all of it goes to, through nothing but clamps, maxima and reshapes:
          these commute with its rounding, so that its codes are taken at once
    room  how many of its codes are added up
    """

    grid: Grid | None = None
    room: int = 1

    @classmethod
    def all_of(cls, wants: Iterable[Want]) -> Want:
        wants = list(wants)
        grids = {want.grid for want in wants}
        room = max((want.room for want in wants), default=1)
        return cls(grids.pop() if len(grids) == 1 else None, room)

    def form(self, least: Fraction, largest: Fraction) -> Form:
        """For values between these: the grid's, or the finest power of two that keeps every code,
        and the sum of `room` of them, under 2^30."""
        if self.grid is not None:
            return Form(self.grid.step, self.grid.zero, 0, self.grid.highest)
        reach = max(abs(least), abs(largest)) * self.room
        return Form(power_of_two(reach / (1 << FINE)))


def power_of_two(least: Fraction) -> Fraction:
    """The least power of two that is at least this; 1 for 0."""
    if not least:
        return Fraction(1)
    exponent = least.numerator.bit_length() - least.denominator.bit_length() - 1
    while Fraction(2) ** exponent < least:
        exponent += 1
    return Fraction(2) ** exponent


def bits(low: int, high: int) -> int:
    """Bits of the two's complement that holds every whole number from low to high."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
