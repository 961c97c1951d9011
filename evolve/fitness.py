"""How good candidates are: Spearman's correlation over the best 20 %, 50 % and all rows, its mean.

S and -S are scored at once: their correlations are opposite, and a candidate gets the better sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from math import nan

import numpy as np

from emqlang.evolve.arena import Arena, Benchmark
from emqlang.grammar.expr import Expr, apply
from emqlang.scores.correlation import Array

NOISE = 1e-12  # relative to the largest entry: less is rounding, as in `Benchmark.totals`
# Of the mantissa of each entry of a fingerprint (1e-6): small entries decide where large ones tie.
BITS = 20


class Combine(StrEnum):
    """How the fitnesses of several benchmarks make one."""

    MEAN = "mean"
    LEAST = "least"


@dataclass(frozen=True, slots=True)
class Score:
    """What a candidate is worth.

    fitness      NaN for scores that are not finite
    rho          per benchmark and ratio, flat, benchmark by benchmark
    negative     whether it is -S that has this fitness
    fingerprint  of what distinguishes configurations, whatever the sign; empty where nothing does
    counts_bits  whether that is what the sum of bits says
    """

    fitness: float
    rho: tuple[float, ...]
    negative: bool
    fingerprint: bytes
    counts_bits: bool

    @property
    def finite(self) -> bool:
        return self.fitness == self.fitness


def score(arena: Arena, programs: Sequence[Expr], combine: Combine = Combine.MEAN) -> list[Score]:
    """Scores of canonical programs, evaluated together."""
    return score_tables(arena, arena.tables(programs), combine) if programs else []


def score_tables(
    arena: Arena,
    tables: Sequence[Array],
    combine: Combine = Combine.MEAN,
    *,
    either_sign: bool = True,
) -> list[Score]:
    """Scores of programs by their S (programs, groups, choices) on each benchmark.

    either_sign  take the better of S and -S
    """
    pairs = list(zip(arena.benchmarks, tables, strict=True))
    rhos = np.stack([_rho(benchmark, table) for benchmark, table in pairs], axis=1)
    finite = np.all([np.isfinite(table).all(axis=(1, 2)) for table in tables], axis=0)
    fitness = rhos.mean(-1)  # (programs, benchmarks)
    signs = np.where((fitness.mean(-1) < 0) & either_sign, -1.0, 1.0)
    each = fitness * signs[:, None]
    values = each.min(-1) if combine is Combine.LEAST else each.mean(-1)
    prints, bits = fingerprints(tables), bits_fingerprint(arena)
    return [
        Score(
            float(values[i]) if finite[i] else nan,
            tuple((rhos[i] * signs[i]).ravel().tolist()) if finite[i] else (),
            bool(signs[i] < 0),
            prints[i],
            prints[i] == bits,
        )
        for i in range(len(values))
    ]


def signed(program: Expr, negative: bool) -> Expr:
    """The program, or its negative."""
    if not negative:
        return program
    return program.args[0] if program.op == "neg" else apply("neg", program)


def bits_fingerprint(arena: Arena) -> bytes:
    """The fingerprint of programs that only count bits."""
    (digest,) = fingerprints([benchmark.bit_sums[None] for benchmark in arena.benchmarks])
    return digest


def fingerprints(tables: Sequence[Array]) -> list[bytes]:
    """A digest per program: S minus its first column, over its largest entry, whatever its sign.

    A constant per group moves all configurations alike, and a factor changes no ranking; nor does
    a sign, since both are scored. Empty if nothing is left.
    """
    digests = []
    for row in np.concatenate([_moved(table) for table in tables], axis=1):
        first = next(iter(row[row != 0]), 0.0)
        mantissas, exponents = np.frexp(row * np.sign(first))
        rounded = np.ldexp(np.round(np.ldexp(mantissas, BITS)), exponents) + 0.0
        digests.append(blake2b(rounded.tobytes(), digest_size=16).digest() if first else b"")
    return digests


def _moved(table: Array) -> Array:
    """(programs, groups x choices): what distinguishes configurations; the largest entry is 1.

    What is not finite is 0.
    """
    with np.errstate(all="ignore"):
        moved = (table - table[:, :, :1]).reshape(len(table), -1)
        moved[np.abs(moved) <= NOISE * np.abs(table).max(axis=(1, 2))[:, None]] = 0.0
        scaled = moved / np.abs(moved).max(axis=1, initial=0.0)[:, None]
        scaled[np.abs(scaled) <= NOISE] = 0.0
    return np.where(np.isfinite(scaled), scaled, 0.0)


def _rho(benchmark: Benchmark, table: Array) -> Array:
    """(programs, ratios); 0 where a score is not finite."""
    with np.errstate(invalid="ignore"):
        return benchmark.rho(np.nan_to_num(benchmark.totals(np.nan_to_num(table))))
