"""Uniform bits: the single choices that every group may take, and every budget allows."""

from __future__ import annotations

import numpy as np
import pytest

from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.bits.uniform import uniform

SIZES = np.array([10, 20, 30])


def budget(menu: tuple[Choice, ...], limit: int) -> Budget:
    costs = SIZES[:, None] * np.array([choice.weight_bits for choice in menu])
    return Budget(QUANTITIES["size"], costs, 0, limit, 1)


@pytest.mark.parametrize(("limit", "widest"), [(60 * 4, "W4"), (60 * 4 - 1, "W3"), (120, "W2")])
def test_every_choice_within_the_budget_narrowest_first(limit: int, widest: str) -> None:
    menu = parse_bits("4,2,3")
    found = uniform(menu, np.ones((3, 3), bool), (), [budget(menu, limit)])
    assert str(found[-1][0]) == widest and len(found) == int(widest[1]) - 1
    assert all(set(choices) == {menu.index(choice)} for choice, choices in found)


def test_no_single_choice_meets_the_budget() -> None:
    menu = parse_bits("3,4")
    assert uniform(menu, np.ones((3, 2), bool), (), [budget(menu, 179)]) == []


def test_kept_groups_have_their_own_choice_which_no_other_takes() -> None:
    menu = parse_bits("2,3,8")
    allowed = np.array([[False, False, True], [True, True, False], [True, True, False]])
    found = uniform(menu, allowed, {0}, [budget(menu, 10 * 8 + 50 * 3)])
    assert [(str(choice), choices) for choice, choices in found] == [
        ("W2", (2, 0, 0)),
        ("W3", (2, 1, 1)),
    ]
    assert uniform(menu, allowed, {0, 1, 2}, []) == []


def test_of_pairs_the_product_of_both_widths_counts() -> None:
    menu = parse_menu("W4A4,W3A8,W2A8")
    found = uniform(menu, np.ones((3, 3), bool), (), [])
    assert [str(choice) for choice, _ in found] == ["W2A8", "W4A4", "W3A8"]
