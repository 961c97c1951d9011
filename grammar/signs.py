"""The sign domain: what is known of a value without running anything.

A `Sign` is a set of {negative, zero, positive}, held as three bits, so that every rule below is a
small table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import or_

Sign = int
NEGATIVE, ZERO, POSITIVE = 1, 2, 4
NONNEGATIVE, NONZERO, ANY = ZERO | POSITIVE, NEGATIVE | POSITIVE, NEGATIVE | ZERO | POSITIVE


def of(value: float) -> Sign:
    return POSITIVE if value > 0 else NEGATIVE if value < 0 else ZERO


def unary(negative: Sign, zero: Sign, positive: Sign) -> tuple[Sign, ...]:
    """The table of a one-argument op, by the argument's sign, from what it does to each atom."""
    image = {NEGATIVE: negative, ZERO: zero, POSITIVE: positive}
    return tuple(_union(image[a] for a in _atoms(s)) for s in range(8))


def binary(atom: Callable[[Sign, Sign], Sign]) -> tuple[tuple[Sign, ...], ...]:
    """The table of a two-argument op, from what it does to each pair of atoms."""
    return tuple(
        tuple(_union(atom(a, b) for a in _atoms(s) for b in _atoms(t)) for t in range(8))
        for s in range(8)
    )


def _atoms(sign: Sign) -> list[Sign]:
    return [atom for atom in (NEGATIVE, ZERO, POSITIVE) if atom & sign]


def _union(signs: Iterable[Sign]) -> Sign:
    return reduce(or_, signs, 0)


FLIP = unary(POSITIVE, ZERO, NEGATIVE)
ADD = binary(lambda a, b: b if a == ZERO else a if b == ZERO else a if a == b else ANY)
MUL = binary(lambda a, b: ZERO if ZERO in (a, b) else POSITIVE if a == b else NEGATIVE)
# of any number of values of one sign
SUM = tuple(ANY if s & NEGATIVE and s & POSITIVE else s for s in range(8))


_WORDS = ("nothing", "< 0", "= 0", "<= 0", "> 0", "!= 0", ">= 0", "any sign")


def describe(sign: Sign) -> str:
    """In words, for `show --stage kinds` and warnings."""
    return _WORDS[sign]
