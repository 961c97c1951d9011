"""Axes: one row per distinct part of a choice, and values that follow the rows."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from fakes import Bits, compile, fake, program

from emqlang.compiler.axes import Axes
from emqlang.compiler.run import run

STATISTICS = fake()


def test_axes_have_a_row_for_each_distinct_part_of_a_choice() -> None:
    axes = Axes(STATISTICS.choices)
    assert axes.bits == (
        ((None, None),),
        ((2, None), (4, None)),
        ((None, 4), (None, 8)),
        ((2, 4), (2, 8), (4, 8)),
    )
    assert [axes.of_choices(mask) for mask in range(4)] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 1),
        (0, 1, 2),
    ]
    assert [axes.project(3, row, 2) for row in axes.rows(3)] == [0, 1, 1]


def test_a_value_that_no_choice_changes_is_the_same_in_all_rows() -> None:
    (values,) = run(compile([program("bits * mean(abs(w))")]), STATISTICS)
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[2], 2 * values[0])


@pytest.mark.parametrize(
    "text", ["mean(square(qerr)) * act_qerr", "act_qerr + kl", "mean(relu(qerr * act_bits))"]
)
def test_rows_follow_the_axes_of_a_menu(text: str) -> None:
    expr = program(text)
    values = run(compile([expr]), STATISTICS)[0]
    np.testing.assert_allclose(values, reference.evaluate(expr, STATISTICS), rtol=1e-6)


def test_a_menu_without_activation_bits() -> None:
    statistics = fake(choices=(Bits(2), Bits(3)))
    expr = program("mean(square(qerr)) * act_bits")
    np.testing.assert_allclose(
        run(compile([expr]), statistics)[0], reference.evaluate(expr, statistics), rtol=1e-6
    )
