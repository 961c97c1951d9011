"""The sign domain: what is known of a value without running anything.

A `Sign` is a set of {negative, zero, positive}, held as three bits, so that every rule below is a small table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Sign = int
NEGATIVE, ZERO, POSITIVE = 1, 2, 4
NONNEGATIVE, NONZERO, ANY = ZERO | POSITIVE, NEGATIVE | POSITIVE, NEGATIVE | ZERO | POSITIVE
_ATOMS = (NEGATIVE, ZERO, POSITIVE)


def of(value: float) -> Sign:
    return POSITIVE if value > 0 else NEGATIVE if value < 0 else ZERO


def unary(negative: Sign, zero: Sign, positive: Sign) -> tuple[Sign, ...]:
    """The table of a one-argument op, from what it does to each atom; index it with the argument's sign."""
    image = {NEGATIVE: negative, ZERO: zero, POSITIVE: positive}
    return tuple(_union(image[a] for a in _ATOMS if a & s) for s in range(8))


def binary(atom: Callable[[Sign, Sign], Sign]) -> tuple[tuple[Sign, ...], ...]:
    """The table of a two-argument op, from what it does to each pair of atoms."""
    return tuple(
        tuple(
            _union(atom(a, b) for a in _ATOMS if a & s for b in _ATOMS if b & t) for t in range(8)
        )
        for s in range(8)
    )


def _union(signs: Iterable[Sign]) -> Sign:
    result = 0
    for sign in signs:
        result |= sign
    return result


FLIP = unary(POSITIVE, ZERO, NEGATIVE)
ADD = binary(lambda a, b: b if a == ZERO else a if b == ZERO else a if a == b else ANY)
MUL = binary(lambda a, b: ZERO if ZERO in (a, b) else POSITIVE if a == b else NEGATIVE)
SUM = tuple(
    ANY if s & NEGATIVE and s & POSITIVE else s for s in range(8)
)  # of any number of values of one sign


def describe(sign: Sign) -> str:
    """In words, for `show --stage kinds` and warnings."""
    return {
        NEGATIVE: "< 0", ZERO: "= 0", POSITIVE: "> 0", NEGATIVE | ZERO: "<= 0",
        NONNEGATIVE: ">= 0", NONZERO: "!= 0", ANY: "any sign",
    }.get(sign, "nothing")  # fmt: skip
