"""The exact solver against brute force, and its promises."""

from __future__ import annotations

from itertools import product
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emqlang.quant.bits.knapsack import front, prove, solve


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups, choices = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    costs = rng.integers(0, 12, (groups, choices)) * rng.choice([1, 7, 1000])
    values = rng.choice(
        [rng.normal(size=(groups, choices)), rng.integers(-3, 4, (groups, choices)).astype(float)]
    )
    allowed = rng.random((groups, choices)) < 0.8
    allowed[np.arange(groups), rng.integers(0, choices, groups)] = True
    return values, costs.astype(np.int64), allowed


def everything(
    values: np.ndarray, costs: np.ndarray, allowed: np.ndarray
) -> list[tuple[int, float]]:
    groups = range(len(values))
    options = [np.flatnonzero(allowed[g]) for g in groups]
    return [
        (int(sum(costs[g, c[g]] for g in groups)), fsum(values[g, c[g]] for g in groups))
        for c in product(*options)
    ]


@given(st.integers(0, 2**32 - 1))
def test_the_optimum_equals_brute_force(seed: int) -> None:
    values, costs, allowed = problem(seed)
    totals = everything(values, costs, allowed)
    limit = int(np.random.default_rng(seed + 1).integers(-1, max(c for c, _ in totals) + 2))
    found = solve(values, costs, allowed, limit)
    feasible = [v for c, v in totals if c <= limit]
    if not feasible:
        assert found is None
        return
    assert found is not None and found.proven
    groups = range(len(values))
    assert all(allowed[g, found.choices[g]] for g in groups)
    assert sum(int(costs[g, found.choices[g]]) for g in groups) <= limit
    assert found.value == fsum(values[g, found.choices[g]] for g in groups)
    assert found.value == pytest.approx(max(feasible), rel=1e-12, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_several_budgets_equal_brute_force_from_any_prices(seed: int) -> None:
    values, first, allowed = problem(seed)
    rng = np.random.default_rng(seed + 1)
    costs = np.stack([first, rng.integers(0, 50, first.shape)])
    groups = range(len(values))
    options = list(product(*(np.flatnonzero(allowed[g]) for g in groups)))
    totals = [
        (costs[:, groups, o].sum(axis=1), fsum(values[g, c] for g, c in enumerate(o)), o)
        for o in options
    ]
    start = totals[int(rng.integers(len(totals)))]
    limits = tuple(int(c) + int(rng.integers(0, 20)) for c in start[0])
    found = prove(
        values,
        costs,
        allowed,
        limits,
        tuple(rng.exponential(0.1, 2)),
        tuple(int(c) for c in start[2]),
    )
    best = max(v for c, v, _ in totals if (c <= limits).all())
    assert found.proven and found.value == pytest.approx(best, rel=1e-12, abs=1e-12)
    assert (costs[:, groups, found.choices].sum(axis=1) <= limits).all()


@given(st.integers(0, 2**32 - 1))
def test_the_front_is_every_undominated_total(seed: int) -> None:
    values, costs, allowed = problem(seed)
    totals = everything(values, costs, allowed)
    found = front(values, costs, allowed)
    assert (np.diff(found.costs) > 0).all() and (np.diff(found.values) > 0).all()
    for point in range(len(found.costs)):
        chosen = found.choices(point)
        assert sum(int(costs[g, c]) for g, c in enumerate(chosen)) == found.costs[point]
        best = max(v for c, v in totals if c <= found.costs[point])
        assert found.values[point] == pytest.approx(best, abs=1e-9)
    assert found.values[-1] == pytest.approx(max(v for _, v in totals), abs=1e-9)


def test_a_problem_of_54_groups_is_proven() -> None:
    rng = np.random.default_rng(0)
    costs = np.outer(rng.integers(1_000, 2_000_000, 54), np.arange(2, 7)).astype(np.int64)
    values = -np.outer(rng.lognormal(size=54), 4.0 ** -np.arange(2, 7))
    allowed = np.ones_like(values, bool)
    for fraction in (0.1, 0.35, 0.6, 0.9):
        limit = int(costs[:, 0].sum() + fraction * (costs[:, -1] - costs[:, 0]).sum())
        found = solve(values, costs, allowed, limit)
        assert found is not None and found.proven
        assert sum(int(costs[g, c]) for g, c in enumerate(found.choices)) <= limit
