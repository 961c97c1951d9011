"""What S says of a candidate: its fitness, what it distinguishes, whether it only counts bits."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from emqlang.evolve.arena import Arena, Benchmark
from emqlang.evolve.fitness import Combine, Score, rate
from emqlang.scores.correlation import Array

NOISE: Final = 1e-12  # relative to the largest entry: less is rounding, as in `Benchmark.totals`
# Of the mantissa of each entry of a fingerprint (1e-6): small entries decide where large ones tie.
BITS: Final = 20


def score_tables(
    arena: Arena, tables: Sequence[Array], combine: Combine = Combine.MEAN
) -> list[Score]:
    """Scores of programs by their S (programs, groups, choices) on each benchmark."""
    pairs = zip(arena.benchmarks, tables, strict=True)
    rows = [_rows(benchmark, table) for benchmark, table in pairs]
    prints, bits = fingerprints(tables), bits_fingerprint(arena)
    return rate(arena, rows, prints, bits, combine, either_sign=False)


def _rows(benchmark: Benchmark, table: Array) -> Array:
    """(programs, rows), NaN where S is not finite."""
    with np.errstate(invalid="ignore"):
        rows = np.nan_to_num(benchmark.totals(np.nan_to_num(table)))
    finite = np.asarray(np.isfinite(table).all(axis=(1, 2)))
    return np.where(finite[:, None], rows, np.nan)


def bits_fingerprint(arena: Arena) -> bytes:
    """The fingerprint of programs that only count bits."""
    (digest,) = fingerprints([benchmark.bit_sums[None] for benchmark in arena.benchmarks])
    return digest


def fingerprints(tables: Sequence[Array]) -> list[bytes]:
    """A digest per program: S minus its first column, over its largest entry, whatever its sign.

    A constant per group moves all configurations alike, and a factor changes no ranking. Empty if
    nothing is left.
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
