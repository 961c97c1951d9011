"""A cached value is the computed one, told apart by all that it is a function of."""

from __future__ import annotations

from dataclasses import replace

from fakes import Bits, compile, fake, program
from populations import BIG, SMALL, Array, same

from emqlang.compiler.cache import Cache
from emqlang.compiler.run import run
from emqlang.grammar.expr import Expr


def test_a_warm_cache_changes_no_bit(some: list[Expr], values: Array) -> None:
    cache, half = Cache(), len(some) // 2
    assert same(run(compile(some[half:]), BIG, cache), values[half:])
    assert same(run(compile(some[: half + 50]), BIG, cache), values[: half + 50])
    misses = cache.misses
    assert same(run(compile(some), BIG, cache), values)
    assert (cache.misses, cache.hits > len(some)) == (misses, True)


def test_a_cache_that_is_full_forgets_and_changes_no_bit(population: list[Expr]) -> None:
    expected = run(compile(population), SMALL)
    cache = Cache(capacity=20_000)
    for start in range(0, len(population), 100):
        part = slice(start, start + 100)
        assert same(run(compile(population[part]), SMALL, cache), expected[part])
        assert 0 < cache.bytes <= cache.capacity
    misses = cache.misses
    assert same(run(compile(population), SMALL, cache), expected)
    assert cache.misses - misses > 100


def test_what_is_cached_is_told_apart_by_statistics_and_bits() -> None:
    expr = program("std(qerr) * mean(w)")
    cache = Cache()
    other = replace(fake(seed=1), fingerprint="other")
    for statistics in (SMALL, other):
        assert same(run(compile([expr]), statistics, cache), run(compile([expr]), statistics))
    turned = replace(
        SMALL.with_arrays(qerr=SMALL.array("qerr").numpy()[::-1].copy()), choices=(Bits(4), Bits(2))
    )
    four, two = run(compile([expr]), turned, cache)[0]
    assert same(two, run(compile([expr]), SMALL)[0, 0])
    assert same(four, run(compile([expr]), SMALL)[0, 2])


def test_results_may_be_written_to() -> None:
    cache = Cache()
    plan = compile([program("mean(qerr)"), program("bits")])
    first = run(plan, SMALL, cache)
    expected = first.copy()
    first[:] = 0
    assert same(run(plan, SMALL, cache), expected)
