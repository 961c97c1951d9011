"""How good candidates are: the mean of Spearman's correlation over the best 20 %, 50 % and all rows, and over the courts.

S and -S are scored at once: their correlations are opposite, so that a candidate is taken with the better sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import numpy as np

from emqlang.evolve.arena import Arena, Court
from emqlang.grammar.expr import Expr, apply
from emqlang.scores.correlation import Array

NOISE = 1e-12  # of the largest entry: what is less is rounding, as in `Court.totals`
BITS = 20  # of a fingerprint's entries, each for itself (1e-6): a small one decides between rows that tie in the large ones


class Combine(StrEnum):
    """How the courts' fitnesses make one."""

    MEAN = "mean"
    LEAST = "least"


@dataclass(frozen=True, slots=True)
class Score:
    """What a candidate is worth.

    fitness      NaN for scores that are not finite
    rho          a court and ratio: flat, court by court
    negative     whether that is of -S
    fingerprint  of what tells configurations apart, whatever the sign; empty where nothing does
    counts_bits  whether it is the bit-sum's
    """

    fitness: float
    rho: tuple[float, ...]
    negative: bool
    fingerprint: bytes
    counts_bits: bool


def score(arena: Arena, programs: Sequence[Expr], combine: Combine = Combine.MEAN) -> list[Score]:
    """Scores of canonical programs, evaluated together."""
    return judge(arena, arena.tables(programs), combine) if programs else []


def judge(
    arena: Arena,
    tables: Sequence[Array],
    combine: Combine = Combine.MEAN,
    *,
    either_sign: bool = True,
) -> list[Score]:
    """Scores of programs by their S (programs, groups, choices) on each court; `either_sign` takes the better of S and -S."""
    marks = fingerprints(tables)
    (bits,) = fingerprints([card[None] for card in arena.cards()])
    rhos = np.stack(
        [_rho(court, table) for court, table in zip(arena.courts, tables, strict=True)], axis=1
    )
    finite = np.all([np.isfinite(table).all(axis=(1, 2)) for table in tables], axis=0)
    fitness = rhos.mean(-1)  # (programs, courts)
    signs = np.where((fitness.mean(-1) < 0) & either_sign, -1.0, 1.0)
    each = fitness * signs[:, None]
    values = each.min(-1) if combine is Combine.LEAST else each.mean(-1)
    return [
        Score(
            float(values[i]) if finite[i] else float("nan"),
            tuple((rhos[i] * signs[i]).ravel().tolist()) if finite[i] else (),
            bool(signs[i] < 0),
            marks[i],
            marks[i] == bits,
        )
        for i in range(len(values))
    ]


def signed(program: Expr, found: Score) -> Expr:
    """The program, or its negative, whose fitness was found."""
    if not found.negative:
        return program
    return program.args[0] if program.op == "neg" else apply("neg", program)


def fingerprints(tables: Sequence[Array]) -> list[bytes]:
    """A digest for each program: S less its first column, over the largest entry, whatever its sign; empty if that is all 0.

    A constant a group moves all configurations alike, and a factor changes no ranking; so does a sign, once both are scored.
    """
    flat = np.concatenate([_moved(table) for table in tables], axis=1)
    found = []
    for row in flat:
        first = next(iter(row[row != 0]), 0.0)
        mantissas, exponents = np.frexp(row * np.sign(first))
        rounded = np.ldexp(np.round(np.ldexp(mantissas, BITS)), exponents) + 0.0
        found.append(blake2b(rounded.tobytes(), digest_size=16).digest() if first else b"")
    return found


def _moved(table: Array) -> Array:
    """(programs, groups x choices): what tells a court's configurations apart, the largest entry 1; 0 for what is not finite."""
    with np.errstate(all="ignore"):
        moved = (table - table[:, :, :1]).reshape(len(table), -1)
        moved[np.abs(moved) <= NOISE * np.abs(table).max(axis=(1, 2))[:, None]] = 0.0
        scaled = moved / np.abs(moved).max(axis=1, initial=0.0)[:, None]
        scaled[np.abs(scaled) <= NOISE] = 0.0
    return np.where(np.isfinite(scaled), scaled, 0.0)


def _rho(court: Court, table: Array) -> Array:
    """(programs, ratios); 0 where a score is not finite."""
    with np.errstate(invalid="ignore"):
        return court.rho(np.nan_to_num(court.totals(np.nan_to_num(table))))
