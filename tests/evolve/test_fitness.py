"""Fitness: Spearman on the rows that count, either sign, several benchmarks, and fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from arenas import JOINT, PLANTED, arena
from hypothesis import given
from hypothesis import strategies as st

from emqlang.evolve.emq.tables import fingerprints
from emqlang.evolve.fitness import Combine, orders, score, signed
from emqlang.grammar.expr import Expr
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show
from emqlang.scores import correlation as ranking
from emqlang.scores import pipeline
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


def test_programs_that_do_not_separate_are_scored_on_rows() -> None:
    place = arena(JOINT)
    (benchmark,) = place.benchmarks
    texts = (JOINT, "exp(-mean(total(shift) ** 2))", "total(bits) * sum(total(shift))", "-total(w)")
    forms = programs(*texts[:3])
    for found, form in zip(score(place, forms), forms, strict=True):
        (scored,) = pipeline.score([form], benchmark.statistics, benchmark.groups)
        totals = scored.totals(benchmark.choices)[None]
        expected = [ranking.at_top(totals, benchmark.truth, ratio)[0] for ratio in ranking.RATIOS]
        assert found.fitness == pytest.approx(abs(np.mean(expected)))
    planted, rising, *_ = score(place, forms)
    assert planted.fitness == pytest.approx(1)
    assert planted.fingerprint == rising.fingerprint, "what rises with a score is no other score"


def test_what_is_beside_a_program_changes_none_of_its_scores() -> None:
    """Bit for bit: totals and reduced values that programs share are those of each alone."""
    texts = (JOINT, PLANTED, "-mean(total(abs(shift)) + square(total(shift)))", "bits * numel")
    together = arena().score(programs(*texts))[0]
    place = arena()
    for row, text in zip(together, texts, strict=True):
        for _ in range(2):
            assert place.score(programs(text))[0][0].tobytes() == row.tobytes()


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
    same, other, joint = score(arena(), programs("bits * 0", "bits", "exp(total(numel))"))
    assert joint.fingerprint == b""
    assert same.fingerprint == b"" != other.fingerprint and same.fitness == 0


def test_what_overflows_has_no_fitness() -> None:
    found = score(arena(), programs("exp(numel * 1e6) * bits", "bits"))
    (joint,) = score(arena(), programs("mean(exp(square(total(shift)) * 1e9))"))
    assert np.isnan(joint.fitness) and joint.fingerprint == b"" and joint.rho == ()
    assert np.isnan(found[0].fitness) and found[1].fitness > 0 and found[0].rho == ()


def test_fingerprints_know_scale_sign_and_constants_a_group() -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((4, 3))
    shifted = table + rng.standard_normal((4, 1))
    found = fingerprints([np.array([table, 2.5 * table, -table, shifted, table**2, table + 1e-9])])
    assert len(set(found[:4])) == 1 and found[4] != found[0] and found[5] == found[0]


@given(st.lists(st.integers(-3, 3), min_size=4, max_size=8))
def test_an_order_is_known_by_itself_and_its_reverse_alone(values: list[int]) -> None:
    row = np.array(values, np.float64)
    moved = row.copy()
    moved[0] += 0.5
    found = orders([np.array([row, np.exp(row), -row, row / 7 + 3, moved])])
    assert len(set(found[:4])) == 1 and (found[0] == b"") == (len(set(values)) == 1)
    alike = [np.unique(x, return_inverse=True)[1].tolist() for x in (row, -row, moved)]
    assert (found[4] == found[0]) == (alike[2] in alike[:2])


def test_a_draw_of_rows_is_part_of_the_benchmark() -> None:
    (benchmark,) = arena().benchmarks
    drawn = benchmark.sample(50, np.random.default_rng(0))
    assert len(drawn.truth) == 50 == len({tuple(row) for row in drawn.choices.tolist()})
    assert set(drawn.truth) <= set(benchmark.truth)
