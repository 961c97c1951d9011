"""Score tables: tied layers, Eq. 3, scores that fall as bits rise, scores that are not finite."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import Bits, fake
from hypothesis import given, settings
from hypothesis import strategies as st
from ties import GROUPS, STATISTICS, Tie, table

from emqlang.grammar.diagnostics import EmqError
from emqlang.scores.pipeline import tabulate
from emqlang.scores.table import TIED

# tied layers


def test_a_bit_weighted_program_takes_the_main_layer() -> None:
    scored = table("mean(abs(w))")
    assert scored.tied == "main"
    assert scored.q is not None and scored.q.shape == (3,)
    np.testing.assert_array_equal(scored.values, scored.q[:, None] * [2.0, 3.0, 8.0])
    np.testing.assert_array_equal(scored.scores, scored.values[[0, 2]])


def test_any_other_adds_up() -> None:
    for text in (
        "-sum(square(qerr))",
        "mean(w) - bits",
        "bits ** 2 * mean(abs(w))",
        "bits * mean(abs(qerr))",
    ):
        scored = table(text)
        assert (scored.tied, scored.q) == ("sum", None)
        np.testing.assert_array_equal(
            scored.scores, [scored.values[0], scored.values[1] + scored.values[2]]
        )


@pytest.mark.parametrize("text", ["mean(abs(w))", "-sum(square(qerr))"])
def test_the_way_may_be_asked_for(text: str) -> None:
    values = table(text).values
    for tied, expected in (
        ("main", values[2]),
        ("sum", values[1] + values[2]),
        ("mean", (values[1] + values[2]) / 2),
    ):
        scored = table(text, tied)
        assert scored.tied == tied
        np.testing.assert_array_equal(scored.scores, [values[0], expected])


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(EmqError) as caught:
        table("numel", "most")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, caught.value.exit_status) == ("E403", 2)
    assert all(way in diagnostic.help[0] for way in TIED)


# Eq. 3


@given(st.lists(st.integers(0, 2), min_size=2, max_size=2))
@settings(max_examples=9)
def test_the_score_of_a_configuration_is_a_sum_over_groups(config: list[int]) -> None:
    for text in ("mean(abs(w))", "-sum(square(qerr))"):
        scored = table(text)
        assert scored.score(config) == math.fsum(
            scored.scores[group, choice] for group, choice in enumerate(config)
        )


def test_groups_add_independently() -> None:
    """Changing one group's choice changes the score by as much, whatever the others have."""
    scored = table("-sum(square(qerr))")
    for rest in range(3):
        step = scored.score([2, rest]) - scored.score([0, rest])
        assert step == pytest.approx(scored.scores[0, 2] - scored.scores[0, 0], rel=1e-12)


# what is wrong


def test_scores_that_fall_are_warned_of() -> None:
    assert table("numel").warnings == () == table("-sum(square(qerr)) * 0").warnings
    falling = table("-numel")
    assert falling.falling == ("stem", "rest")
    (warning,) = falling.warnings
    assert (warning.code, warning.help) == (
        "W602",
        ("higher must mean better: a minus may be missing, or a factor be negative here",),
    )
    assert warning.message == "the score falls as bits rise in 2 of 2 groups: stem, rest"


def test_only_the_groups_that_fall_are_named() -> None:
    statistics = STATISTICS.with_arrays(depth=np.array([1.0, -2.0, 0.5]))
    assert table("depth", "main", statistics).falling == ()
    assert table("depth", "sum", statistics).falling == ("rest",)
    many = tuple(Tie(f"g{i}", (i % 3,), i % 3) for i in range(9))
    (scored,) = tabulate(["-numel"], STATISTICS, many)
    assert scored.warnings[0].message.endswith("in 9 of 9 groups: g0, g1, g2, g3, g4 and 4 more")


def test_a_fall_is_between_choices_that_can_be_compared() -> None:
    """W2A8 and W4A4 cannot: one has more weight bits, the other more activation bits."""
    statistics = fake(choices=(Bits(4, 4), Bits(2, 8), Bits(4, 8)))
    assert table("bits - act_bits * 0", statistics=statistics).falling == ()
    both = ("stem", "rest")
    assert table("act_bits - bits * 0.1", statistics=statistics).falling == both  # W2A8 to W4A8
    assert table("act_bits + 10 * bits", statistics=statistics).falling == ()
    assert table("bits - act_bits", statistics=statistics).falling == both  # W4A4 to W4A8


def test_a_fall_within_rounding_is_none() -> None:
    scored = table("numel")
    for change, falling in ((-1e-14, ()), (-1e-9, ("stem", "rest"))):
        values = np.ones((3, 3)) * [1.0, 1.0, 1.0 + change]
        assert replace(scored, values=values).falling == falling


def test_a_score_that_is_not_finite_is_a_problem_of_its_layer() -> None:
    w = STATISTICS.array("w").numpy().copy()
    w[STATISTICS.offsets["weight"][1]] = 20.0  # in layer 1
    statistics = STATISTICS.with_arrays(w=w)
    text = "mean(exp(exp(abs(w))) + abs(qerr)) * bits ** 2"
    assert [(p.code, p.path, p.message) for p in table(text, "sum", statistics).problems] == [
        ("E501", "block", "the score of group 'rest' is not finite for W2, W3, W8")
    ]
    assert table(text, "mean", statistics).problems == table(text, "sum", statistics).problems
    assert table(text, "main", statistics).problems == ()  # the main layer is another
    assert not np.isfinite(table(text, "sum", statistics).scores[1]).any()
    assert math.isnan(table(text, "sum", statistics).score([0, 0]))


def test_only_the_choices_that_overflow_are_named() -> None:
    scored = table("exp(bits ** 3 * 2)")
    assert {p.message for p in scored.problems} == {
        f"the score of group '{group.name}' is not finite for W8" for group in GROUPS
    }
    assert scored.falling == () and np.isfinite(scored.scores[:, :2]).all()


def test_sums_beyond_the_floats_are_not_finite_and_no_crash() -> None:
    scored = table("mean(abs(w)) * 0 + 1e308 + bits")
    assert not scored.problems or all(problem.code == "E501" for problem in scored.problems)
    large = replace(scored, values=np.full_like(scored.values, 1e308), tied="main")
    assert not large.problems and large.score([0] * len(GROUPS)) == math.inf
    tied = replace(large, tied="sum")
    assert [problem.code for problem in tied.problems] == ["E501"]
    assert math.isnan(tied.score([0] * len(GROUPS)))
