"""Weight and activation grids: levels, zero points, rounding, constants, the range's search."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.ptq import grids as quantizer
from emqlang.quant.ptq.grids import METHODS, ActivationGrid, Grid, WeightQuantizer

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
@settings(max_examples=200)
def test_a_grid_is_what_the_design_says(rows: Tensor, bits: int, method: str) -> None:
    grid = WeightQuantizer(method).fit(rows, bits)
    codes = grid.codes(rows)
    assert grid.scale.shape == grid.zero_point.shape == (len(rows),) and (grid.scale > 0).all()
    assert (
        (grid.zero_point >= 0) & (grid.zero_point < 2**bits)
    ).all() and grid.zero_point.dtype == torch.int32
    assert int(codes.min()) >= 0 and int(codes.max()) < 2**bits == grid.levels
    assert (grid.values(grid.zero_point[:, None]) == 0).all(), "zero lies on the grid"
    assert all(len(row.unique()) <= 2**bits for row in grid.values(codes))


@given(weights, st.integers(1, 8))
@settings(max_examples=100)
def test_the_searched_range_is_no_worse_than_the_whole(rows: Tensor, bits: int) -> None:
    searched, whole = (
        error(rows, WeightQuantizer(way).fit(rows, bits)) for way in ("mse", "minmax")
    )
    assert (searched <= whole * (1 + 1e-4) + 1e-9).all()


@given(
    st.lists(finite, min_size=1, max_size=6),
    st.integers(1, 8),
    st.integers(1, 5),
    st.sampled_from(sorted(METHODS)),
)
@settings(max_examples=100)
def test_equal_weights_are_represented_exactly(
    values: list[float], bits: int, width: int, method: str
) -> None:
    rows = torch.tensor(values)[:, None].repeat(1, width)
    for form in ((False, False), (True, False), (True, True)):
        if bits > form[0]:
            grid = WeightQuantizer(method, *form).fit(rows, bits)
            assert torch.equal(grid.values(grid.codes(rows)), rows)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_more_bits_are_nearer(method: str) -> None:
    rows = torch.randn(16, 200, generator=torch.Generator().manual_seed(0))
    errors = [
        float(error(rows, WeightQuantizer(method).fit(rows, bits)).sum()) for bits in range(2, 9)
    ]
    assert all(more < less / 2.2 for less, more in pairwise(errors))


def test_symmetric_grids_have_one_level_less_or_all_of_them() -> None:
    rows = torch.linspace(-1, 1, 401)[None]
    narrow, full = (WeightQuantizer("minmax", True, whole).fit(rows, 3) for whole in (False, True))
    assert sorted(narrow.codes(rows).unique().tolist()) == list(range(1, 8)), "2^b - 1 levels"
    assert int(narrow.zero_point) == int(full.zero_point) == 4
    beyond = torch.tensor([[-1.2]])
    assert (int(narrow.codes(beyond)), int(full.codes(beyond))) == (1, 0)


def test_rounding_is_half_to_even() -> None:
    grid = Grid(4, torch.ones(1), torch.zeros(1, dtype=torch.int32))
    assert grid.codes(torch.tensor([[0.5, 1.5, 2.5, 3.5, 3.4999, -3, 99]])).tolist() == [
        [0, 2, 2, 4, 3, 0, 15]
    ]


def test_channels_do_not_meet() -> None:
    rows = torch.randn(8, 30, generator=torch.Generator().manual_seed(1))
    together, alone = (
        WeightQuantizer().fit(rows, 3),
        [WeightQuantizer().fit(row[None], 3) for row in rows],
    )
    assert torch.equal(together.scale, torch.cat([grid.scale for grid in alone]))


@given(st.lists(finite, min_size=1, max_size=50), st.integers(2, 8))
@settings(max_examples=200)
def test_activation_grids_hold_zero_and_their_range(values: list[float], bits: int) -> None:
    tensor = torch.tensor(values)
    grid = ActivationGrid.spanning(float(tensor.min()), float(tensor.max()), bits)
    quantized = grid(tensor)
    assert float(grid(torch.zeros(1))) == 0 and 0 <= grid.zero_point < 2**bits
    assert len(quantized.unique()) <= 2**bits
    assert float((quantized - tensor).abs().max()) <= grid.scale * 1.001, (
        "within a step, for zero's place is rounded too"
    )


@pytest.mark.parametrize("full_range", [False, True])
def test_a_symmetric_bit_has_no_level_above_zero(full_range: bool) -> None:
    with pytest.raises(EmqError, match="no level above 0") as refused:
        WeightQuantizer("mse", True, full_range).fit(torch.randn(2, 3), 1)
    assert refused.value.diagnostics[0].code == "E403"


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(EmqError, match="no quantizer method 'mes'") as refused:
        WeightQuantizer("mes")
    assert refused.value.diagnostics[0].help[0] == "did you mean 'mse'?"


def by_hand(rows: Tensor, bits: int, symmetric: bool, full_range: bool) -> np.ndarray[Any, Any]:
    """The min-max grid in float64: widen to 0, divide, round half to even, clip, and back."""
    x = rows.double().numpy()
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    levels = 2**bits - (symmetric and not full_range)
    if symmetric:
        end = np.maximum(np.maximum(-low, high), 1e-300)
        scale, zero, first = end * 2 / (levels - 1), 2 ** (bits - 1), 2**bits - levels
    else:
        scale, first = np.maximum(high - low, 1e-300) / (levels - 1), 0
        zero = np.clip(np.rint(-low / scale), 0, levels - 1)
    codes = np.clip(np.rint(x / scale) + zero, first, 2**bits - 1)
    return np.asarray((codes - zero) * scale)


@given(weights, st.integers(2, 8), st.sampled_from([(False, False), (True, False), (True, True)]))
@settings(max_examples=200)
def test_the_grid_over_a_range_is_the_formula_in_float64(
    rows: Tensor, bits: int, form: tuple[bool, bool]
) -> None:
    grid = WeightQuantizer("minmax", *form).fit(rows, bits)
    found, wanted = grid.values(grid.codes(rows)).double().numpy(), by_hand(rows, bits, *form)
    varies = (rows.amin(1) != rows.amax(1)).numpy()
    step = grid.scale.double().numpy()[:, None]
    off = np.abs(found - wanted)[varies]
    same = off <= 1e-5 * np.abs(wanted)[varies] + 1e-30
    assert np.all(same | (off <= 1.001 * step[varies])), "never more than a step away"
    ratio = (rows.double().numpy() / step)[varies]
    settled = (np.abs(ratio % 1 - 0.5) > 1e-3) & _clear(rows, step)[varies]
    assert np.all(same[settled]), "and equal wherever float32 cannot round the other way"


def _clear(rows: Tensor, step: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Whether a channel's zero point is far from where it would round the other way."""
    place = np.minimum(rows.double().numpy().min(1, keepdims=True), 0) / step
    return np.broadcast_to(np.abs(place % 1 - 0.5) > 1e-3, rows.shape)


@given(weights, st.integers(2, 6), st.sampled_from([(False, False), (True, False), (True, True)]))
@settings(max_examples=60)
def test_every_weight_takes_the_nearest_level(
    rows: Tensor, bits: int, form: tuple[bool, bool]
) -> None:
    grid = WeightQuantizer("mse", *form).fit(rows, bits)
    levels = grid.values(
        torch.arange(grid.lowest, grid.levels).repeat(len(rows), 1)
    ).double()  # (C, levels)
    nearest = (rows.double()[:, :, None] - levels[:, None]).abs().amin(2)
    found = (grid.values(grid.codes(rows)).double() - rows.double()).abs()
    torch.testing.assert_close(found, nearest, rtol=1e-5, atol=1e-5 * float(rows.abs().max()))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_search_comes_near_the_best_range(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    rows = torch.cat(
        [torch.randn(2, 60, generator=generator), torch.randn(2, 60, generator=generator) ** 3]
    )
    found = error(rows, WeightQuantizer().fit(rows, bits))
    for channel, row in enumerate(rows):
        ends = [
            (float(row.min()) * a / 50, float(row.max()) * b / 50)
            for a in range(51)
            for b in range(51)
            if a or b
        ]
        low, high = (torch.tensor(column) for column in zip(*ends, strict=True))
        scale = (high - low) / (2**bits - 1)
        grid = Grid(bits, scale, (-low / scale).round().clamp(0, 2**bits - 1).int())
        assert float(found[channel]) <= 1.08 * float(error(row.repeat(len(ends), 1), grid).min())


def test_outliers_are_left_out_by_percentile_and_by_error() -> None:
    rows = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    rows[0, 0] = 60.0
    scales = {method: float(WeightQuantizer(method).fit(rows, 4).scale) for method in METHODS}
    assert scales["mse"] < scales["minmax"] / 2 and scales["percentile"] < scales["minmax"]


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_weights_is_of_no_concern(method: str, size: float) -> None:
    rows = torch.randn(4, 50, generator=torch.Generator().manual_seed(2))
    plain, scaled = (WeightQuantizer(method).fit(rows * factor, 4) for factor in (1.0, size))
    assert torch.equal(plain.zero_point, scaled.zero_point)
    torch.testing.assert_close(scaled.scale / size, plain.scale)


@pytest.mark.parametrize("extreme", [1e-45, 1e-40, 3e38])
def test_the_ends_of_floating_point_stay_finite(extreme: float) -> None:
    rows = torch.tensor(
        [[extreme, -extreme, extreme / 2], [extreme, extreme, extreme], [0.0, extreme, 0.0]]
    )
    for method in METHODS:
        for form in ((False, False), (True, False), (True, True)):
            grid = WeightQuantizer(method, *form).fit(rows, 4)
            values = grid.values(grid.codes(rows))
            assert (
                values.isfinite().all()
                and (values[1] == rows[1]).all()
                and (values.abs() <= 3.4e38).all()
            )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_precisions(dtype: torch.dtype) -> None:
    rows = torch.randn(3, 20, generator=torch.Generator().manual_seed(3)).to(dtype)
    grid, single = WeightQuantizer().fit(rows, 4), WeightQuantizer().fit(rows.float(), 4)
    assert torch.equal(grid.scale, single.scale) and torch.equal(
        grid.codes(rows), single.codes(rows.float())
    )


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.uint8), (9, torch.int32), (16, torch.int32)])
def test_codes_have_room_for_their_levels(bits: int, dtype: torch.dtype) -> None:
    rows = torch.linspace(0, 1, 2**bits)[None]
    codes = WeightQuantizer("minmax").fit(rows, bits).codes(rows)
    assert codes.dtype == dtype and int(codes.max()) == 2**bits - 1 and int(codes.min()) == 0


def test_neither_threads_nor_chunks_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(9, 300, generator=torch.Generator().manual_seed(4))
    threads = torch.get_num_threads()
    grids = []
    try:
        for count, chunk in ((1, 1 << 18), (2, 1 << 18), (2, 700)):
            torch.set_num_threads(count)
            monkeypatch.setattr(quantizer, "CHUNK", chunk)
            grids.append(WeightQuantizer().fit(rows, 3))
            assert torch.get_num_threads() == count, "as it was before"
    finally:
        torch.set_num_threads(threads)
    assert all(
        torch.equal(grid.scale, grids[0].scale)
        and torch.equal(grid.zero_point, grids[0].zero_point)
        for grid in grids
    )
