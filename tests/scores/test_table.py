"""Score tables: tied layers, Eq. 3, the bit weight, what falls, what is not finite, and what identifies a program."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fakes import Bits, Fake, fake, program
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plain_exprs

from emqlang.compiler.cache import Cache
from emqlang.grammar import parse
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, apply, elaborate, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.text.printer import show
from emqlang.scores.table import TIED, ScoreTable, tabulate, without_bits


@dataclass(frozen=True)
class Tie:
    name: str
    layers: tuple[int, ...]
    main: int


GROUPS = (Tie("stem", (0,), 0), Tie("rest", (1, 2), 2))
BITS = (Bits(2), Bits(3), Bits(8))
STATISTICS = fake(choices=BITS)


def form(text: str) -> Expr:
    return canonical(program(text))


def table(text: str, tied: str = "auto", statistics: Fake = STATISTICS) -> ScoreTable:
    (found,) = tabulate([form(text)], statistics, GROUPS, tied)
    return found


# tied layers


def test_a_bit_weighted_program_takes_the_main_layer() -> None:
    found = table("mean(abs(w))")
    assert found.tied == "main"
    assert found.q is not None and found.q.shape == (3,)
    np.testing.assert_array_equal(found.values, found.q[:, None] * [2.0, 3.0, 8.0])
    np.testing.assert_array_equal(found.scores, found.values[[0, 2]])


def test_any_other_adds_up() -> None:
    for text in (
        "-sum(square(qerr))",
        "mean(w) - bits",
        "bits ** 2 * mean(abs(w))",
        "bits * mean(abs(qerr))",
    ):
        found = table(text)
        assert (found.tied, found.q) == ("sum", None)
        np.testing.assert_array_equal(
            found.scores, [found.values[0], found.values[1] + found.values[2]]
        )


@pytest.mark.parametrize("text", ["mean(abs(w))", "-sum(square(qerr))"])
def test_the_way_may_be_asked_for(text: str) -> None:
    values = table(text).values
    for tied, expected in (
        ("main", values[2]),
        ("sum", values[1] + values[2]),
        ("mean", (values[1] + values[2]) / 2),
    ):
        found = table(text, tied)
        assert found.tied == tied
        np.testing.assert_array_equal(found.scores, [values[0], expected])


def test_a_way_that_there_is_not() -> None:
    with pytest.raises(EmqError) as caught:
        table("numel", "most")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, caught.value.exit_status) == ("E403", 2)
    assert all(way in diagnostic.help[0] for way in TIED)


# elaboration and Q


@pytest.mark.parametrize(
    "text",
    [
        "w",
        "abs(w) * numel",
        "mean(abs(w))",
        "log(abs(grad_synflow)) * sqrt(mean(abs(w)))",
        "3",
        "bits",
    ],
)
def test_the_bit_weight_may_be_written(text: str) -> None:
    q = parse(text).expr
    plain = elaborate(q)
    layer = q if q.kind is Kind.LAYER else apply("mean", q)
    written = plain if "bits" in text else apply("mul", statistic("bits"), layer)
    turned = plain if "bits" in text else apply("mul", layer, statistic("bits"))
    tables = tabulate([canonical(expr) for expr in (plain, written, turned)], STATISTICS, GROUPS)
    for found in tables:
        assert found.values.tobytes() == tables[0].values.tobytes()
        assert (
            found.q is not None
            and tables[0].q is not None
            and found.q.tobytes() == tables[0].q.tobytes()
        )
        assert found.tied == "main"


WEIGHTED = [
    ("bits", "1"),
    ("2 * bits", "2"),
    ("bits * mean(w)", "mean(w)"),
    ("mean(abs(w) * bits)", "mean(abs(w))"),
    ("-bits / numel", "-inv(numel)"),
    ("numel * bits * depth", "numel * depth"),
    ("w - w", "0"),
    ("mean(qerr - qerr)", "0"),
]
NOT_WEIGHTED = [
    "bits ** 2",
    "bits + 1",
    "inv(bits)",
    "bits * act_bits",
    "bits * mean(qerr)",
    "mean(qerr)",
    "sqrt(bits)",
]


@pytest.mark.parametrize(("text", "q"), WEIGHTED)
def test_q_is_what_bits_weight(text: str, q: str) -> None:
    found = table(text).q
    expected = table(f"bits * ({q})")
    assert found is not None and expected.q is not None and found.tobytes() == expected.q.tobytes()
    np.testing.assert_array_equal(table(text).values[:, 0], 2 * found)


@pytest.mark.parametrize(
    "text",
    [
        "bits ** 2",
        "bits + 1",
        "inv(bits)",
        "bits * act_bits",
        "bits * mean(qerr)",
        "mean(qerr)",
        "sqrt(bits)",
    ],
)
def test_what_is_no_bit_weight(text: str) -> None:
    assert without_bits(form(text)) is None


@given(plain_exprs(inputs=("w", "grad", "act", "numel", "depth"), max_ops=6, max_size=25))
@settings(max_examples=60)
def test_values_are_bits_times_q(expr: Expr) -> None:
    (found,) = tabulate([canonical(elaborate(expr))], STATISTICS, GROUPS)
    assert found.q is not None, show(expr)
    np.testing.assert_allclose(found.values, found.q[:, None] * [2.0, 3.0, 8.0], rtol=1e-12)


# Eq. 3


@given(st.lists(st.integers(0, 2), min_size=2, max_size=2))
@settings(max_examples=9)
def test_the_score_of_a_configuration_is_a_sum_over_groups(config: list[int]) -> None:
    for text in ("mean(abs(w))", "-sum(square(qerr))"):
        found = table(text)
        assert found.score(config) == math.fsum(
            found.scores[group, choice] for group, choice in enumerate(config)
        )


def test_groups_add_independently() -> None:
    """Changing one group's choice changes the score by as much, whatever the others have."""
    found = table("-sum(square(qerr))")
    for rest in range(3):
        step = found.score([2, rest]) - found.score([0, rest])
        assert step == pytest.approx(found.scores[0, 2] - found.scores[0, 0], rel=1e-12)


# what is wrong


def test_scores_that_fall_are_warned_of() -> None:
    assert table("numel").warnings == () == table("-sum(square(qerr)) * 0").warnings
    falling = table("-numel")
    assert falling.falling == ("stem", "rest")
    (warning,) = falling.warnings
    assert (warning.code, warning.help) == (
        "W602",
        ("higher must mean better: a leading minus may be missing",),
    )
    assert warning.message == "the score falls as bits rise in 2 of 2 groups: stem, rest"


def test_only_the_groups_that_fall_are_named() -> None:
    statistics = STATISTICS.with_arrays(depth=np.array([1.0, -2.0, 0.5]))
    assert table("depth", "main", statistics).falling == ()
    assert table("depth", "sum", statistics).falling == ("rest",)
    many = tuple(Tie(f"g{i}", (i % 3,), i % 3) for i in range(9))
    (found,) = tabulate([form("-numel")], STATISTICS, many)
    assert found.warnings[0].message.endswith("in 9 of 9 groups: g0, g1, g2, g3, g4 and 4 more")


def test_a_fall_is_between_choices_that_can_be_compared() -> None:
    """W2A8 and W4A4 cannot: one has more weight bits, the other more activation bits."""
    statistics = fake(choices=(Bits(4, 4), Bits(2, 8), Bits(4, 8)))
    assert table("bits - act_bits * 0", statistics=statistics).falling == ()
    assert table("act_bits - bits * 0.1", statistics=statistics).falling == (
        "stem",
        "rest",
    )  # W2A8 to W4A8
    assert table("act_bits + 10 * bits", statistics=statistics).falling == ()
    assert table("bits - act_bits", statistics=statistics).falling == (
        "stem",
        "rest",
    )  # W4A4 to W4A8


def test_a_fall_within_rounding_is_none() -> None:
    found = table("numel")
    for change, falling in ((-1e-14, ()), (-1e-9, ("stem", "rest"))):
        values = np.ones((3, 3)) * [1.0, 1.0, 1.0 + change]
        assert replace(found, values=values).falling == falling


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
    found = table("exp(bits ** 3 * 2)")
    assert {p.message for p in found.problems} == {
        f"the score of group '{group.name}' is not finite for W8" for group in GROUPS
    }
    assert found.falling == () and np.isfinite(found.scores[:, :2]).all()


# identity


def test_the_fingerprint_forgets_scale_and_constants_of_a_group() -> None:
    first = table("-sum(square(qerr))")
    for text in (
        "-3 * sum(square(qerr))",
        "numel - sum(square(qerr))",
        "depth * 7 - sum(square(qerr)) / 2",
    ):
        np.testing.assert_allclose(table(text, "sum").fingerprint, first.fingerprint, atol=1e-9)
    np.testing.assert_allclose(table("sum(square(qerr))").fingerprint, -first.fingerprint)
    assert first.fingerprint.shape == (2, 3) and np.abs(first.fingerprint).max() == 1
    assert not table("bits * 0").fingerprint.any()


# many at once


def test_tables_come_in_order_and_share_a_cache() -> None:
    texts = ["mean(abs(w))", "-sum(square(qerr))", "numel", "mean(abs(w)) * mean(abs(grad))"]
    cache = Cache()
    together = tabulate([form(text) for text in texts], STATISTICS, GROUPS, cache=cache)
    misses = cache.misses
    for text, found in zip(texts, together, strict=True):
        (alone,) = tabulate([form(text)], STATISTICS, GROUPS, cache=cache)
        assert alone.values.tobytes() == found.values.tobytes() == table(text).values.tobytes()
        assert (found.layers, found.groups, found.choices) == (
            ("stem", "block", "head"),
            GROUPS,
            BITS,
        )
    assert cache.misses == misses
    assert tabulate([], STATISTICS, GROUPS) == []
