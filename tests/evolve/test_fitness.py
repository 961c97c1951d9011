"""Fitness: Spearman on the rows that count, either sign, several benchmarks, and fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from arenas import PLANTED, arena

from emqlang.evolve.fitness import Combine, fingerprints, score, signed
from emqlang.grammar.expr import Expr
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show
from emqlang.scores import correlation as ranking
from emqlang.scores.pipeline import tabulate


def programs(*texts: str) -> list[Expr]:
    return [parse(text).canonical for text in texts]


def test_the_planted_program_ranks_perfectly_with_either_sign() -> None:
    one, other = score(arena(), programs(PLANTED, "sum(fisher * qerr ** 2) * 3"))
    assert (
        one.fitness == pytest.approx(1) == other.fitness
        and one.rho == pytest.approx((1, 1, 1)) == other.rho
    )
    assert not one.negative and other.negative and one.fingerprint == other.fingerprint
    assert show(signed(parse("sum(w)").expr, other.negative)) == "-sum(w)"


def test_fitness_is_the_rankings() -> None:
    place = arena()
    (benchmark,) = place.benchmarks
    for text in ("bits", "sum(abs(w)) * bits", "-max(qerr)", "numel / bits"):
        (found,) = score(place, programs(text))
        (table,) = tabulate(programs(text), benchmark.statistics, benchmark.groups)
        totals = table.totals(benchmark.choices)[None]
        expected = [ranking.at_top(totals, benchmark.truth, ratio)[0] for ratio in ranking.RATIOS]
        assert found.fitness == pytest.approx(abs(np.mean(expected)))
        assert found.rho == pytest.approx(tuple(np.array(expected) * (-1 if found.negative else 1)))


def test_several_benchmarks_make_one_fitness() -> None:
    place = arena(benchmarks=3)
    text = programs("-sum(qerr ** 2)")
    (mean,), (least,) = score(place, text, Combine.MEAN), score(place, text, Combine.LEAST)
    each = [score(arena(seed=seed), text)[0].fitness for seed in range(3)]
    assert (
        mean.fitness == pytest.approx(np.mean(each))
        and least.fitness == pytest.approx(min(each))
        and len(mean.rho) == 9
    )


def test_the_sum_of_bits_is_recognised() -> None:
    found = score(arena(), programs("bits", "3", "-7 * bits", "bits + numel", "bits * numel"))
    assert [one.counts_bits for one in found] == [True, True, True, True, False]


def test_what_no_choice_changes_has_no_fingerprint() -> None:
    same, other = score(arena(), programs("bits * 0", "bits"))
    assert same.fingerprint == b"" != other.fingerprint and same.fitness == 0


def test_what_overflows_has_no_fitness() -> None:
    found = score(arena(), programs("exp(numel * 1e6) * bits", "bits"))
    assert np.isnan(found[0].fitness) and found[1].fitness > 0 and found[0].rho == ()


def test_fingerprints_know_scale_sign_and_constants_a_group() -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((4, 3))
    shifted = table + rng.standard_normal((4, 1))
    found = fingerprints([np.array([table, 2.5 * table, -table, shifted, table**2, table + 1e-9])])
    assert len(set(found[:4])) == 1 and found[4] != found[0] and found[5] == found[0]


def test_a_draw_of_rows_is_part_of_the_benchmark() -> None:
    (benchmark,) = arena().benchmarks
    drawn = benchmark.sample(50, np.random.default_rng(0))
    assert len(drawn.truth) == 50 == len({tuple(row) for row in drawn.choices.tolist()})
    assert set(drawn.truth) <= set(benchmark.truth)
