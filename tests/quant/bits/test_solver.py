"""Assignment under budgets: limits as written, brute force, infeasibility, the paper's sampling."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import fsum, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.budget import QUANTITIES, Budget, parse_limit
from emqlang.quant.bits.solver import assign, pareto, sample, shortfalls, taken


def budget(costs: np.ndarray, limit: int, base: int = 0, name: str = "size") -> Budget:
    return Budget(QUANTITIES[name], costs.astype(np.int64), base, limit, 1)


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("size", "4.5MiB", 4718592),
        ("size", "4.5 MB", 4_500_000),
        ("size", "1B", 1),
        ("bops", "72G", 72 * 10**9),
        ("latency", "0.3us", 300),
        ("avg-bits", "3.2", 3200),
        ("size", "0.1MiB", 104857),  # rounded down, never up
    ],
)
def test_limits_as_users_write_them(name: str, text: str, limit: int) -> None:
    assert parse_limit(name, text, weights=1000) == limit


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("size", "4.5", "the unit is missing in '4.5'"),
        ("size", "4.5Mib", "the unit 'Mib' is unknown in '4.5Mib'"),
        ("size", "0MiB", "a budget of '0MiB' is not positive"),
        ("bops", "-3G", "a budget of '-3G' is not positive"),
        ("avg-bits", "3bits", "avg-bits has no unit, got 'bits'"),
        ("latency", "fast", "'fast' is not an amount of latency"),
        ("size", "nanMiB", "'nanMiB' is not an amount of size"),
        ("size", "1e999MiB", "'1e999MiB' is not an amount of size"),
        ("size", "1e18MiB", "a budget of '1e18MiB' is more than any network costs"),
        ("bops", "1e308G", "a budget of '1e308G' is more than any network costs"),
        ("avg-bits", "1e30", "a budget of '1e30' is more than any network costs"),
        (
            "size",
            "\N{ARABIC-INDIC DIGIT THREE}MiB",
            "'\N{ARABIC-INDIC DIGIT THREE}MiB' is not an amount of size",
        ),
    ],
)
def test_limits_that_mean_nothing(name: str, text: str, message: str) -> None:
    with pytest.raises(EmqError) as caught:
        parse_limit(name, text)
    assert caught.value.diagnostics[0].message == message
    assert caught.value.exit_status == 2


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, list[Budget], np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups, choices, count = (
        int(rng.integers(1, 6)),
        int(rng.integers(1, 4)),
        int(rng.integers(1, 4)),
    )
    scores = rng.normal(size=(groups, choices)) * 10.0 ** rng.integers(-6, 7)
    allowed = rng.random((groups, choices)) < 0.9
    allowed[np.arange(groups), rng.integers(0, choices, groups)] = True
    budgets = []
    for _ in range(count):
        costs = rng.integers(0, 30, (groups, choices)) * int(rng.choice([1, 10**9]))
        base = int(rng.integers(0, 5))
        limit = base + int(rng.uniform(costs.min(axis=1).sum() * 0.9, costs.max(axis=1).sum() + 1))
        budgets.append(budget(costs, limit, base))
    return scores, budgets, allowed


@given(problems())
@settings(max_examples=300)
def test_several_budgets_equal_brute_force_and_are_never_passed(
    problem: tuple[np.ndarray, list[Budget], np.ndarray],
) -> None:
    scores, budgets, allowed = problem
    found = assign(scores, budgets, allowed)
    best = -inf
    for choices in product(*(np.flatnonzero(row) for row in allowed)):
        if all(b.cost(choices) <= b.limit for b in budgets):
            best = max(best, fsum(scores[g, c] for g, c in enumerate(choices)))
    if best == -inf:
        assert found is None
        return
    assert found is not None and found.status == "optimal" and found.gap == 0
    assert all(b.cost(found.choices) <= b.limit for b in budgets)
    assert all(allowed[g, c] for g, c in enumerate(found.choices))
    assert found.score == pytest.approx(best, rel=1e-9, abs=1e-12 * np.abs(scores).max())


def test_no_budget_takes_the_best_of_every_group() -> None:
    found = assign(
        np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]]),
        [],
        np.array([[True, True, True], [True, True, False]]),
    )
    assert found is not None and found.choices == (1, 0)


def test_shortfalls_name_the_least_alone_and_with_the_others_held() -> None:
    allowed = np.ones((2, 2), bool)
    size = budget(np.array([[1, 10], [1, 10]]), 5)
    speed = budget(np.array([[10, 1], [10, 1]]), 11, name="bops")
    assert assign(np.zeros((2, 2)), [size, speed], allowed) is None
    first, second = shortfalls([size, speed], allowed)
    assert (first.alone, first.held) == (2, 11)
    assert (second.alone, second.held) == (2, 20)


def test_what_groups_take_at_least_is_said_of_every_budget_that_counts_them() -> None:
    allowed = np.array([[False, True], [True, True], [True, True]])
    size = budget(np.array([[1, 10], [1, 10], [1, 2]]), 5)
    none = budget(np.array([[0, 0], [0, 0], [1, 2]]), 5, name="bops")
    said = taken([size, none], allowed, {0: "a", 1: "b"})
    assert said == f"{size.show(11)} of size for a, b"
    assert taken([none], allowed, {0: "a"}) == ""
    assert taken([size], allowed, dict.fromkeys([0], "a") | {1: "b", 2: "c"}).endswith("a, b, c")


def test_the_front_holds_every_single_budget_optimum() -> None:
    rng = np.random.default_rng(5)
    scores, costs = (
        rng.normal(size=(10, 4)).cumsum(axis=1),
        rng.integers(1, 9, (10, 1)) * np.arange(2, 6),
    )
    allowed = np.ones_like(scores, bool)
    points = pareto(scores, budget(costs, 0), allowed)
    for cost, point in points:
        assert budget(costs, cost).cost(point.choices) == cost
        exact = assign(scores, [budget(costs, cost)], allowed)
        assert exact is not None and exact.score == pytest.approx(point.score, rel=1e-12)


def test_sampling_is_seeded_within_budget_and_no_better_than_the_optimum() -> None:
    rng = np.random.default_rng(1)
    scores, costs = (
        rng.normal(size=(18, 3)).cumsum(axis=1),
        rng.integers(1, 9, (18, 1)) * np.arange(2, 5),
    )
    allowed = np.ones_like(scores, bool)
    limit = [budget(costs, int(costs[:, 1].sum()))]
    drawn = [sample(scores, limit, allowed, 5000, np.random.default_rng(3)) for _ in range(2)]
    exact = assign(scores, limit, allowed)
    assert drawn[0] is not None and drawn[1] is not None and exact is not None
    assert drawn[0].choices == drawn[1].choices and drawn[0].status == "feasible"
    assert limit[0].cost(drawn[0].choices) <= limit[0].limit
    assert drawn[0].score <= exact.score + 1e-12
    assert sample(scores, [budget(costs, 1)], allowed, 100, rng) is None


def exactly(scores: np.ndarray, choices: tuple[int, ...]) -> Fraction:
    return sum(
        (Fraction(float(row[c])) for row, c in zip(scores, choices, strict=True)), Fraction()
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_optimal_means_optimal_in_exact_arithmetic(seed: int) -> None:
    """Scores over up to 100 decades, ties, costs up to 2**62, no budget to three."""
    rng = np.random.default_rng(seed)
    groups, choices, count = (int(rng.integers(*ends)) for ends in ((1, 6), (1, 5), (0, 4)))
    decades = float(rng.choice([0, 3, 30, 100]))
    scale = 10.0 ** rng.uniform(-decades / 2, decades / 2, (groups, 1))
    drawn = rng.normal(size=(groups, choices)), rng.integers(-3, 4, (groups, choices))
    scores = drawn[int(rng.random() < 0.3)] * scale
    largest = int(rng.choice([5, 1000, 2**40, 2**62]))
    costs = np.sort(rng.integers(0, largest, (count, groups, choices), endpoint=True), axis=2)
    ends = [[sum(map(int, cost[:, end])) for end in (0, -1)] for cost in costs]
    limits = [low + int(rng.uniform(-0.05, 1.2) * (high - low)) for low, high in ends]
    names = ("size", "bops", "latency")[:count]
    budgets = [budget(*pair, name=name) for *pair, name in zip(costs, limits, names, strict=True)]
    totals = [
        (exactly(scores, chosen), [-b.cost(chosen) for b in budgets])
        for chosen in product(range(choices), repeat=groups)
        if all(b.cost(chosen) <= b.limit for b in budgets)
    ]
    found = assign(scores, budgets, np.ones(scores.shape, bool))
    if not totals:
        assert found is None
        return
    assert found is not None and (found.status, found.gap) == ("optimal", 0)
    assert all(b.cost(found.choices) <= b.limit for b in budgets)
    assert exactly(scores, found.choices) == max(totals)[0]
    if count == 1:  # and of equal ones the cheapest
        assert [-budgets[0].cost(found.choices)] == max(totals)[1]


def test_small_groups_count_beside_large_ones() -> None:
    scores, allowed = np.array([[0.0, 1e72], [0.0, 1e50], [0.0, 1e-40]]), np.ones((3, 2), bool)
    costs = np.array([[0, 1], [0, 1], [0, 1]])
    loose = assign(scores, [budget(costs, 100)], allowed)
    free = assign(scores, [], allowed)
    assert loose is not None and free is not None
    assert loose.choices == free.choices == (1, 1, 1)
    assert [point.choices for _, point in pareto(scores, budget(costs, 0), allowed)] == [
        (0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1),
    ]  # fmt: skip


def test_costs_that_int64_cannot_add_up() -> None:
    costs = np.array([[0, 2**62]] * 3)
    scores, allowed = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]), np.ones((3, 2), bool)
    for limit, choices in ((2**62, (0, 0, 1)), (2**63, (0, 1, 1)), (3 * 2**62, (1, 1, 1))):
        for count in (1, 2):
            found = assign(scores, [budget(costs, limit), budget(costs, 2**70)][:count], allowed)
            assert found is not None and (found.choices, found.status) == (choices, "optimal")
    points = pareto(scores, budget(costs, 0), allowed)
    assert [cost for cost, _ in points] == [0, 2**62, 2**63, 3 * 2**62]
    drawn = sample(scores, [budget(costs, 2**63)], allowed, 100, np.random.default_rng(0))
    assert drawn is not None and drawn.choices == (0, 1, 1)


def test_scores_that_add_up_to_no_float_are_compared_all_the_same() -> None:
    scores, allowed = np.array([[0.0, 1.7e308], [0.0, 1.7e308], [0.0, -1.0]]), np.ones((3, 2), bool)
    for limit in (1, 100):
        found = assign(scores, [budget(np.array([[0, 1]] * 3), limit)], allowed)
        assert found is not None and sum(found.choices) == min(limit, 2)
    assert found is not None and found.score == inf and found.choices == (1, 1, 0)


def test_many_samples_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, allowed = np.random.default_rng(0).normal(size=(3, 2)), np.ones((3, 2), bool)
    monkeypatch.setattr("emqlang.quant.bits.solver._DRAWN", 7)
    best = sample(scores, [budget(np.ones((3, 2)), 3)], allowed, 1000, np.random.default_rng(0))
    assert best is not None and best.choices == tuple(scores.argmax(axis=1))


def test_what_one_budget_cannot_prove_is_polished() -> None:
    """Scores that are the costs: a sum of subsets, of which nothing can be ruled out."""
    rng = np.random.default_rng(0)
    costs = np.outer(rng.integers(1000, 2_000_000, 40), np.arange(2, 7))
    limit = int(costs[:, 0].sum() + 0.37 * (costs[:, -1] - costs[:, 0]).sum())
    found = assign(costs.astype(float), [budget(costs, limit)], np.ones(costs.shape, bool))
    assert found is not None and found.status == "feasible"
    assert limit - found.score == pytest.approx(found.gap, rel=1e-6) and found.gap < 1000


def drawn(groups: int, choices: int, seed: int) -> tuple[np.ndarray, list[Budget]]:
    """Layers of a thousand to three million weights, with errors that fall fourfold a bit."""
    rng = np.random.default_rng(seed)
    numel = (10 ** rng.uniform(3, 6.5, groups)).astype(np.int64)[:, None]
    bits = np.sort(rng.choice(np.arange(2, 17), choices, replace=False))
    noise = np.exp(rng.normal(0, 0.3, (groups, choices)))
    scores = -(10 ** rng.uniform(-3, 2, (groups, 1))) * 4.0**-bits * noise
    sizes, bops = numel * bits, numel * rng.integers(1, 200, (groups, 1)) * bits * 8
    shares = ((sizes, 0.3, "size"), (bops, 0.25, "bops"))
    return scores, [
        budget(costs, int((1 - share) * costs.min(1).sum() + share * costs.max(1).sum()), name=name)
        for costs, share, name in shares
    ]


def test_two_budgets_of_many_layers_are_proven() -> None:
    """Of these, the prices of the linear relaxation alone prove 2, with four times the states.

    Measured with as many layers as ResNet-50 has.
    """
    status = [
        assign(scores, budgets, np.ones(scores.shape, bool)).status  # type: ignore[union-attr]
        for scores, budgets in (drawn(54, 5, seed) for seed in range(8))
    ]
    assert status.count("optimal") >= 6


def test_a_start_among_tiny_scores_is_improved() -> None:
    """HiGHS is done within 1e-6 of the largest score, which here is a thousandth of the sum."""
    scores, budgets = drawn(120, 6, seed=2)
    scores[0] -= np.linspace(1e6, 0, 6)  # this group decides itself
    allowed = np.ones(scores.shape, bool)
    best = assign(scores, budgets, allowed)
    assert best is not None
    allowed[0] = np.arange(6) == best.choices[0]
    scores[0] += np.linspace(1e6, 0, 6)
    alone = assign(scores, budgets, allowed)
    assert alone is not None and best.choices == alone.choices
