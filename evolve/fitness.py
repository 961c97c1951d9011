"""How good candidates are: Spearman's correlation over the best 20 %, 50 % and all rows, its mean.

A program and its negative are scored at once: their correlations are opposite, and a candidate gets
the better sign.
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
    fingerprint  of how configurations are ordered, whatever the sign; empty where they are not
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
    if not programs:
        return []
    rows = arena.score(programs)
    (bits,) = orders([one.totals(one.bit_sums[None]) for one in arena.benchmarks])
    return rate(arena, rows, orders(rows), bits, combine)


def rate(
    arena: Arena,
    rows: Sequence[Array],
    prints: Sequence[bytes],
    bits: bytes,
    combine: Combine = Combine.MEAN,
    *,
    either_sign: bool = True,
) -> list[Score]:
    """Scores of programs by those of each benchmark's rows: (programs, rows), NaN if not finite.

    prints       what programs are known by
    bits         what the sum of bits is known by
    either_sign  take the better of a program and its negative
    """
    pairs = list(zip(arena.benchmarks, rows, strict=True))
    rhos = np.stack([_rho(benchmark, scores) for benchmark, scores in pairs], axis=1)
    finite = np.all([np.isfinite(scores).all(axis=1) for scores in rows], axis=0)
    fitness = rhos.mean(-1)  # (programs, benchmarks)
    signs = np.where((fitness.mean(-1) < 0) & either_sign, -1.0, 1.0)
    each = fitness * signs[:, None]
    values = each.min(-1) if combine is Combine.LEAST else each.mean(-1)
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


def orders(rows: Sequence[Array]) -> list[bytes]:
    """A digest per program of how it orders each benchmark's rows (programs, rows), or the reverse.

    Whatever rises with a score is known by the same; a program and its negative are, since both are
    scored. Empty if all rows of every benchmark are equal, or some are not finite.
    """
    digests = []
    for program in range(len(rows[0])):
        ranks = [np.unique(scores[program], return_inverse=True)[1] for scores in rows]
        order = np.concatenate(ranks).astype(np.int32)
        back = np.concatenate([each.max() - each for each in ranks]).astype(np.int32)
        either = min(order.tobytes(), back.tobytes())
        says = order.any() and all(np.isfinite(scores[program]).all() for scores in rows)
        digests.append(blake2b(either, digest_size=16).digest() if says else b"")
    return digests


def signed(program: Expr, negative: bool) -> Expr:
    """The program, or its negative."""
    if not negative:
        return program
    return program.args[0] if program.op == "neg" else apply("neg", program)


def _rho(benchmark: Benchmark, scores: Array) -> Array:
    """(programs, ratios); 0 where a score is not finite."""
    return benchmark.rho(np.nan_to_num(scores))
