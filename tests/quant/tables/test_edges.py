"""Rows at the edges of budgets: distinct, within them, solutions and their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.exact import Floats
from emqlang.quant.bits.menu import parse_bits
from emqlang.quant.bits.solver import assign
from emqlang.quant.tables.edges import BUDGETS, EDGE, Drawn, draw_edges
from emqlang.quant.tables.spec import Spec

GROUPS, BASE = 14, 1000
MENU = parse_bits("2,3,4")
ALLOWED = np.ones((GROUPS, 3), bool)
NUMEL = np.random.default_rng(5).integers(40, 400, GROUPS)
COSTS = NUMEL[:, None] * np.array([2, 3, 4])
SIZE = Budget(QUANTITIES["size"], COSTS, BASE, 0, 1)


def scores(count: int) -> list[Floats]:
    rng = np.random.default_rng(6)
    return [-rng.random((GROUPS, 1)) / np.array([4.0, 16.0, 64.0]) for _ in range(count)]


def drawn(count: int, seed: int = 0, proxies: int = 6) -> Drawn:
    return draw_edges(scores(proxies), MENU, SIZE, ALLOWED, count, np.random.default_rng(seed))


def test_rows_are_distinct_and_at_the_edge_of_their_budget() -> None:
    found = drawn(200)
    sizes = np.array([SIZE.cost(tuple(row)) for row in found.choices.tolist()])
    assert len(np.unique(found.choices, axis=0)) == 200 and len(found.budgets) == BUDGETS
    strata = np.searchsorted(found.budgets, sizes)
    assert np.bincount(strata).tolist() == [25] * BUDGETS
    step = found.budgets[1] - found.budgets[0]
    limits = np.array(found.budgets)[strata]
    assert ((sizes <= limits) & (sizes > limits - EDGE * step - 1)).all()
    assert np.diff(found.budgets) == pytest.approx(step, abs=1)
    assert (np.bincount(strata[:140]) >= 17).all()  # what may be searched on has all of them


def test_exact_solutions_of_the_proxies_are_among_them() -> None:
    found = drawn(240)
    rows = {tuple(row) for row in found.choices.tolist()}
    for limit in found.budgets:
        budget = Budget(SIZE.quantity, COSTS, BASE, limit, 1)
        for one in scores(6):
            solution = assign(one, [budget], ALLOWED)
            assert solution is not None and solution.choices in rows


def test_a_budget_has_other_rows_than_proxies_choose() -> None:
    """Rows near those that are best for a score, but not chosen by it."""
    found = drawn(240)
    wide = [np.random.default_rng(0).random((GROUPS, 3)) for _ in range(1)]
    assert draw_edges(wide, MENU, SIZE, ALLOWED, 80, np.random.default_rng(0)).choices.shape == (
        80,
        GROUPS,
    )
    alone = drawn(240, proxies=0)
    assert len(alone.choices) == len(found.choices) == 240


def test_the_same_seed_draws_the_same() -> None:
    one, two, other = drawn(80), drawn(80), drawn(80, seed=1)
    assert (one.choices == two.choices).all() and one.budgets == two.budgets
    assert (one.choices != other.choices).any() and one.budgets == other.budgets


def test_fixed_groups_keep_their_choice() -> None:
    allowed = ALLOWED.copy()
    allowed[0] = [False, False, True]
    found = draw_edges(scores(3), MENU, SIZE, allowed, 80, np.random.default_rng(0))
    assert (found.choices[:, 0] == 2).all()


def test_more_rows_than_there_are_is_refused() -> None:
    few = ALLOWED.copy()
    few[3:, 1:] = False
    with pytest.raises(EmqError, match="at the budgets' edges") as refused:
        draw_edges(scores(3), MENU, SIZE, few, 100, np.random.default_rng(0))
    assert refused.value.diagnostics[0].code == "E407"


def test_a_table_without_the_word_is_uniform() -> None:
    record = Spec("m").as_dict()
    del record["sample"]
    assert Spec.from_dict(record).sample == "uniform"
