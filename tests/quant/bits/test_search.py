"""Search by moves: against brute force, within every budget, the same each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pytest

from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.exact import Bools, Floats, Ints
from emqlang.quant.bits.search import FOUND, Score, improve, local_search, search, within

# Of what layers do alone (n, images), and together: the scores that do not add up.
FORMS: Final[Mapping[str, Callable[[Floats, Floats], Floats]]] = {
    "bounded": lambda alone, shift: -np.mean(1 - np.exp(-(alone + shift**2) / 2), axis=1),
    "squares": lambda alone, shift: -np.mean(shift**2, axis=1),
    "logs": lambda alone, shift: -np.mean(np.log1p(shift**2), axis=1),
    "roots": lambda alone, shift: -np.mean(np.sqrt(alone + shift**2), axis=1),
}


def scoring(shifts: Floats, form: str) -> Score:
    """Of the shifts (groups, choices, images) that configurations choose."""

    def score(configurations: Ints) -> Floats:
        groups, parts = np.arange(len(shifts)), list[Floats]()
        for start in range(0, len(configurations), 2000):
            chosen = shifts[groups, configurations[start : start + 2000]]
            parts.append(FORMS[form](np.square(chosen).sum(axis=1), chosen.sum(axis=1)))
        return np.concatenate(parts)

    return score


def budget(costs: Ints, limit: int) -> Budget:
    return Budget(QUANTITIES["size"], costs.astype(np.int64), 0, limit, 1)


def problem(seed: int, form: str) -> tuple[Score, list[Budget], Bools]:
    """A small random problem with a budget or two, some choices fixed away."""
    rng = np.random.default_rng(seed)
    groups, choices, images = (int(rng.integers(*ends)) for ends in ((2, 8), (2, 5), (1, 24)))
    groups = min(groups, 5 if choices == 4 else groups)
    size = np.exp(rng.normal(size=(groups, 1, 1))) * rng.choice([0.1, 1, 3])
    shifts = rng.normal(size=(groups, choices, images)) * size
    shifts *= 2.0 ** -np.arange(choices)[None, :, None]
    allowed = rng.random((groups, choices)) < 0.9
    allowed[np.arange(groups), rng.integers(0, choices, groups)] = True
    budgets = []
    for _ in range(int(rng.integers(1, 3))):
        costs = rng.integers(1, 100, groups)[:, None] * np.arange(2, 2 + choices)
        least = int(np.where(allowed, costs, costs.max()).min(axis=1).sum())
        most = int(costs[:, -1].sum())
        budgets.append(budget(costs, least + int((most - least) * rng.uniform(0.1, 0.8))))
    return scoring(shifts, form), budgets, allowed


def test_it_finds_what_brute_force_finds() -> None:
    """In 99 % of small problems at least; of the first 1,000 of these in as many as docs/cli.md
    states."""
    missed, count = list[int](), 0
    for seed in range(60):
        score, budgets, allowed = problem(seed, list(FORMS)[seed % len(FORMS)])
        every = within(budgets, allowed)
        assert every is not None
        found = local_search(score, budgets, allowed)
        assert (len(found) > 0) == (len(every) > 0)
        if len(every):
            best, count = float(score(every).max()), count + 1
            if float(score(found).max()) < best - 1e-9 * abs(best):
                missed.append(seed)
    assert count > 50 and len(missed) <= 0.01 * count, missed


@pytest.mark.parametrize("form", list(FORMS))
def test_few_configurations_are_all_scored(form: str) -> None:
    score, budgets, allowed = problem(3, form)
    found, every = search(score, budgets, allowed), within(budgets, allowed)
    assert found is not None and every is not None
    assert found.status == "optimal" and found.gap == 0
    assert found.score == score(every).max() == score(np.array([found.choices]))[0]


def wide(images: int, groups: int = 20) -> tuple[Floats, list[Budget], Bools]:
    rng = np.random.default_rng(0)
    shifts = rng.normal(size=(groups, 4, images)) * np.exp(rng.normal(size=(groups, 1, 1)))
    shifts *= 0.3 * 2.0 ** -np.arange(4)[None, :, None]
    sizes = rng.integers(100, 10_000, groups)
    costs = sizes[:, None] * np.arange(2, 6)
    return shifts, [budget(costs, int(3.2 * sizes.sum()))], np.ones((groups, 4), bool)


def test_many_groups_are_searched_within_the_budget_the_same_each_time() -> None:
    shifts, budgets, allowed = wide(32)
    score = scoring(shifts, "bounded")
    found, again = (search(score, budgets, allowed, seed=1) for _ in range(2))
    assert found is not None and again is not None
    assert found.choices == again.choices and found.status == FOUND and found.gap == np.inf
    assert budgets[0].cost(found.choices) <= budgets[0].limit
    stepped = improve(score, budgets, allowed, [found.choices])
    assert tuple(stepped[0]) == found.choices  # no change of one group or two is better


def test_finalists_are_judged_on_images_that_the_search_did_not_use() -> None:
    shifts, budgets, allowed = wide(32)
    whole = scoring(shifts, "squares")
    halves = scoring(shifts[..., :16], "squares"), scoring(shifts[..., 16:], "squares")
    found = search(whole, budgets, allowed, halves)
    ended = local_search(halves[0], budgets, allowed)
    assert found is not None
    assert found.choices == tuple(ended[halves[1](ended).argmax()])
    assert found.score == whole(np.array([found.choices]))[0]


def test_fixed_groups_are_not_counted() -> None:
    """However many there are: what the others may choose is scored, all of it."""
    shifts, budgets, allowed = wide(4, groups=70)
    allowed[3:] = np.arange(4) == 1
    every = within([], allowed)
    assert every is not None and every.shape == (4**3, 70) and (every[:, 3:] == 1).all()
    assert len(np.unique(every, axis=0)) == 4**3
    found = search(scoring(shifts, "roots"), budgets, allowed)
    assert found is not None and found.status == "optimal"
    allowed[:] = np.arange(4) == 2
    (only,) = np.asarray(within([], allowed))
    assert set(only) == {2}


def test_a_budget_that_one_configuration_meets_proves_it() -> None:
    shifts, (limited,), allowed = wide(2, groups=40)
    only = budget(limited.costs, int(limited.costs[:, 0].sum()))
    found = search(scoring(shifts, "roots"), [only], allowed)
    assert found is not None and found.status == "optimal" and set(found.choices) == {0}


def test_scores_that_are_no_numbers_are_the_worst() -> None:
    shifts, budgets, allowed = wide(4, groups=14)
    shifts[3, 1:] = np.nan
    found = search(scoring(shifts, "logs"), budgets, allowed)
    assert found is not None and found.choices[3] == 0 and np.isfinite(found.score)


def test_budgets_that_nothing_meets() -> None:
    shifts, (limited,), allowed = wide(2, groups=14)
    nothing = budget(limited.costs, 1)
    assert search(scoring(shifts, "logs"), [nothing], allowed) is None
    allowed[0] = [False, False, False, True]  # the cheapest choice of the first would fit
    less = budget(limited.costs, int(limited.costs[:, 0].sum()))
    assert search(scoring(shifts, "logs"), [less], allowed) is None
