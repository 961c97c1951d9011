"""Weight and activation grids: levels, zero points, rounding, exact constants, and the search for the range."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.menu import Choice, act_widths, parse_bits, parse_menu, weight_widths
from emqlang.quant.quantizer import METHODS, ActivationGrid, Grid, WeightQuantizer, fit

finite = st.floats(-100, 100, width=32)
weights = st.tuples(st.integers(1, 5), st.integers(1, 12)).flatmap(
    lambda shape: st.lists(finite, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: torch.tensor(values).view(shape)
    )
)


def error(rows: Tensor, grid: Grid) -> Tensor:
    """Squared error of each channel in float64."""
    return (grid.values(grid.codes(rows)).double() - rows.double()).square().sum(1)


@given(weights, st.integers(1, 8), st.sampled_from(sorted(METHODS)))
@settings(max_examples=200, deadline=None)
def test_a_grid_is_what_the_design_says(rows: Tensor, bits: int, method: str) -> None:
    grid = fit(rows, bits, WeightQuantizer(method))
    codes = grid.codes(rows)
    assert grid.scale.shape == grid.zero_point.shape == (len(rows),) and (grid.scale > 0).all()
    assert ((grid.zero_point >= 0) & (grid.zero_point < 2**bits)).all() and grid.zero_point.dtype == torch.int32
    assert int(codes.min()) >= 0 and int(codes.max()) < 2**bits == grid.levels
    assert (grid.values(grid.zero_point[:, None]) == 0).all(), "zero lies on the grid"
    assert all(len(row.unique()) <= 2**bits for row in grid.values(codes))


@given(weights, st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_the_searched_range_is_no_worse_than_the_whole(rows: Tensor, bits: int) -> None:
    searched, whole = (error(rows, fit(rows, bits, WeightQuantizer(way))) for way in ("mse", "minmax"))
    assert (searched <= whole * (1 + 1e-4) + 1e-9).all()


@given(st.lists(finite, min_size=1, max_size=6), st.integers(1, 8), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_equal_weights_are_represented_exactly(values: list[float], bits: int, width: int) -> None:
    rows = torch.tensor(values)[:, None].repeat(1, width)
    grid = fit(rows, bits)
    assert torch.equal(grid.values(grid.codes(rows)), rows)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_more_bits_are_nearer(method: str) -> None:
    rows = torch.randn(16, 200, generator=torch.Generator().manual_seed(0))
    errors = [float(error(rows, fit(rows, bits, WeightQuantizer(method))).sum()) for bits in range(2, 9)]
    assert all(more < less / 2.2 for less, more in pairwise(errors))


def test_symmetric_grids_have_one_level_less_or_all_of_them() -> None:
    rows = torch.linspace(-1, 1, 401)[None]
    narrow, full = (fit(rows, 3, WeightQuantizer("minmax", True, whole)) for whole in (False, True))
    assert sorted(narrow.codes(rows).unique().tolist()) == list(range(1, 8)), "2^b - 1 levels"
    assert int(narrow.zero_point) == int(full.zero_point) == 4
    beyond = torch.tensor([[-1.2]])
    assert (int(narrow.codes(beyond)), int(full.codes(beyond))) == (1, 0)


def test_rounding_is_half_to_even() -> None:
    grid = Grid(4, torch.ones(1), torch.zeros(1, dtype=torch.int32))
    assert grid.codes(torch.tensor([[0.5, 1.5, 2.5, 3.5, 3.4999, -3, 99]])).tolist() == [[0, 2, 2, 4, 3, 0, 15]]


def test_channels_do_not_meet() -> None:
    rows = torch.randn(8, 30, generator=torch.Generator().manual_seed(1))
    together, alone = fit(rows, 3), [fit(row[None], 3) for row in rows]
    assert torch.equal(together.scale, torch.cat([grid.scale for grid in alone]))


@given(st.lists(finite, min_size=1, max_size=50), st.integers(2, 8))
@settings(max_examples=200, deadline=None)
def test_activation_grids_hold_zero_and_their_range(values: list[float], bits: int) -> None:
    tensor = torch.tensor(values)
    grid = ActivationGrid.spanning(float(tensor.min()), float(tensor.max()), bits)
    quantized = grid(tensor)
    assert float(grid(torch.zeros(1))) == 0 and 0 <= grid.zero_point < 2**bits
    assert len(quantized.unique()) <= 2**bits
    assert float((quantized - tensor).abs().max()) <= grid.scale * 1.001, "within a step, for zero's place is rounded too"


@pytest.mark.parametrize("values", [WeightQuantizer("mse", symmetric=True)])
def test_a_symmetric_bit_has_no_level_but_zero(values: WeightQuantizer) -> None:
    with pytest.raises(EmqError, match="no level above 0"):
        values.fit(torch.randn(2, 3), 1)
    with pytest.raises(EmqError, match="no quantizer method 'mes'"):
        WeightQuantizer("mes")


def test_menus() -> None:
    assert parse_bits("2, 3,4") == (Choice(2), Choice(3), Choice(4)) and str(Choice(4, 8)) == "W4A8"
    assert parse_menu("W2A8,W4A4") == (Choice(2, 8), Choice(4, 4))
    assert weight_widths(parse_menu("W4A4,W2A8,W4A8")) == (4, 2) and act_widths(parse_menu("W4A4,W2A8,W4A8")) == (4, 8)
    assert act_widths(parse_bits("2,4")) == (None,)


@pytest.mark.parametrize("text", ["", "2,2", "0", "17", "x", "2;3", "2.5", "W2", "-2"])
def test_menus_that_are_none(text: str) -> None:
    with pytest.raises(EmqError) as refused:
        parse_bits(text)
    assert refused.value.diagnostics[0].code == "E401"


@pytest.mark.parametrize("text", ["2,4", "W2A0", "W2A17", "W2A8,W2A8", "W2"])
def test_menus_of_pairs_that_are_none(text: str) -> None:
    with pytest.raises(EmqError):
        parse_menu(text)
